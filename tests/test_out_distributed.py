"""--out under torchrun: ranks write what one process writes, and whatever becomes of one, nothing wrong gets the name."""

import os
import re
import signal
import socket
import subprocess
import sys

import checkpoints
import pytest
from checkpoints import FILES, read
from forked import Forked

RANKS = 3
# One of the ranks does something to itself when it fills a tensor, at the first step (-2), before the last (0) or after it (-1).
SCRIPT = """
import os, resource, signal, sys
import checkpoints, pytest
checkpoints.with_micro(pytest.MonkeyPatch())
from fastinit import __main__ as cli
from fastinit.checkpoint import contents, hf, place
rank, victim, count = os.environ["RANK"], {victim!r}, {count}
fill, publish, calls = contents.fill_tasks_, place.publish, []
def filling(task):
    calls.append(task)
    if rank == victim and len(calls) == count:
        {action}
    fill(task)
def publishing(*paths):
    if rank == victim and count == 0:
        {action}
    publish(*paths)
    if rank == victim and count == -1:
        {action}
def beginning(*arguments):
    if rank == victim and count == -2:
        {action}
    begin(*arguments)
contents.fill_tasks_, place.publish = filling, publishing
begin, hf.HuggingFace.begin = hf.HuggingFace.begin, beginning
sys.argv = ["fastinit", *{arguments!r}]
cli.command()
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
RAISE = "raise RuntimeError('one rank alone')"
FULL = "raise OSError(28, 'No space left on device')"


def ranks_of(directory, *options, **what):
    """The results of the ranks of one run into a folder."""
    return [process.wait() for process in started(directory, *options, **what)]


def started(directory, *options, victim="", count=-1, action="pass", ranks=RANKS):
    """The ranks of one run into a folder, started as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = os.environ | {
        "OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks),
    }  # fmt: skip
    arguments = ["init", "micro-moe", "--seed", "7", "--method", "llama_depth", "--out", str(directory), *options]
    script = SCRIPT.format(victim=victim, count=count, action=action, arguments=arguments)
    return [
        Forked("-c", script, environment=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(ranks)
    ]


def options_of(form):
    return ("--format", form) if form != "hf" else checkpoints.SMALL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nothing stops writes, by form."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for form in ("hf", "dcp"):
        results = ranks_of(folder / form, *options_of(form))
        assert [result.returncode for result in results] == [0] * RANKS, [result.stderr for result in results]
        assert [bool(result.stdout) for result in results] == [True, False, False]
        found[form] = read(folder / form)
    assert sorted(path.name for path in folder.iterdir()) == ["dcp", "hf"]
    return found


def test_ranks_write_the_files_of_one_process(tmp_path, monkeypatch, whole):
    checkpoints.with_micro(monkeypatch)
    assert checkpoints.write(tmp_path / "c") == 0
    assert read(tmp_path / "c") == whole["hf"]
    assert sorted(whole["dcp"]) == [".metadata", "__0_0.distcp", "__1_0.distcp", "__2_0.distcp", "fastinit.json"]


UNLESS = ", unless it has its name by now"


def one_line(result, rank, partial, unless=("", UNLESS)):
    """A rank that has written all of its files, and waits for the others, cannot know more."""
    expected = f"fastinit init: rank {rank}: error: another rank is gone; what is written is in {partial}"
    return result.stderr in [f"{expected}{each}: --resume goes on with it\n" for each in unless]


@pytest.mark.parametrize(
    ("form", "victim", "count"), [("hf", 1, 2), ("hf", 0, 4), ("hf", 0, 0), ("dcp", 1, 3), ("dcp", 0, 0)]
)
def test_a_rank_that_is_killed_ends_the_others_and_is_resumed(tmp_path, whole, form, victim, count):
    """At its second tensor, the first rank at its fourth, and when all is there but the name."""
    results = ranks_of(tmp_path / "c", *options_of(form), victim=str(victim), count=count, action=KILL)
    assert not os.path.lexists(tmp_path / "c")
    (partial,) = tmp_path.glob("c.partial-*")
    for rank, result in enumerate(results):
        assert result.returncode == (-signal.SIGKILL if rank == victim else 2)
        unless = (UNLESS,) if count == 0 else ("", UNLESS) if rank else ("",)
        assert rank == victim or one_line(result, rank, partial, unless), result.stderr
    resumed = ranks_of(tmp_path / "c", "--resume", *options_of(form))
    assert [result.returncode for result in resumed] == [0] * RANKS, [result.stderr for result in resumed]
    assert read(tmp_path / "c") == whole[form]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    proven = re.findall(rf"(\d+) of {FILES} files were there, and proved to be right", resumed[0].stdout)
    assert len(proven) == (form == "hf")
    assert proven in ([], [str(FILES)]) or count


def test_a_first_rank_that_is_killed_when_all_is_in_place(tmp_path, whole):
    """The others cannot know, and must not send anybody to a folder that is not there."""
    results = ranks_of(tmp_path / "c", *options_of("hf"), victim="0", count=-1, action=KILL)
    assert [result.returncode for result in results] == [-signal.SIGKILL, 2, 2]
    assert read(tmp_path / "c") == whole["hf"]
    assert [result.stderr for result in results[1:]] == [
        f"fastinit init: rank {rank}: error: another rank is gone\n" for rank in (1, 2)
    ]


@pytest.mark.parametrize("form", ["hf", "dcp"])
def test_a_rank_that_sleeps_keeps_the_name(tmp_path, whole, form):
    """It may wake up when the others are long gone, and write on: what is resumed meanwhile would not be what it proves."""
    options = (*options_of(form), "--timeout", "2")
    processes = started(tmp_path / "c", *options, victim="1", count=2, action="os.kill(os.getpid(), signal.SIGSTOP)")
    for rank in (0, 2):
        assert processes[rank].wait().returncode == 2
    refused = ranks_of(tmp_path / "c", "--resume", *options)
    assert [result.returncode for result in refused] == [2] * RANKS
    assert refused[0].stderr == f"fastinit init: error: --out: another run is writing {tmp_path / 'c'}\n"
    os.kill(processes[1].pid, signal.SIGCONT)
    assert processes[1].wait().returncode == 2
    assert [result.returncode for result in ranks_of(tmp_path / "c", "--resume", *options)] == [0] * RANKS
    assert read(tmp_path / "c") == whole[form]


NAMING = """
import os, sys, threading
from pathlib import Path
from fastinit.checkpoint import place
from fastinit.cli import watch
partial, final = map(Path, {paths!r})
partial.mkdir()
telling, named, write = threading.Event(), threading.Event(), os.write
def slowly(*arguments):
    telling.set()
    named.wait(1)
    return write(*arguments)
os.write = slowly
first = watch.Watch("here")
naming = first.begun(partial)
threading.Thread(target=first.end, args=(2, "stopped")).start()
telling.wait()
with naming:
    place.publish(partial, final)
    named.set()
threading.Event().wait()
"""


def test_the_folder_gets_no_name_while_its_last_words_are_said(tmp_path):
    partial, final = tmp_path / "c.partial-0", tmp_path / "c"
    result = Forked("-c", NAMING.format(paths=(str(partial), str(final)))).wait()
    assert result.returncode == 2
    assert result.stderr == f"here: stopped; what is written is in {partial}: --resume goes on with it\n"
    assert [path.name for path in tmp_path.iterdir()] == [partial.name]


MEETING = """
import sys, threading
import torch.distributed as dist
from fastinit import __main__ as cli
dist.init_process_group = lambda *_, **__: threading.Event().wait()
sys.argv = ["fastinit", "init", "tiny-moe", "--timeout", "1", "--out", {out!r}]
cli.command()
"""


def test_the_time_to_meet_is_that_of_all_its_steps(tmp_path):
    """Torch takes the timeout for each of them, and some of them twice."""
    environment = os.environ | {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2"}
    result = Forked("-c", MEETING.format(out=str(tmp_path / "c")), environment=environment).wait()
    assert result.returncode == 2
    assert result.stderr == "fastinit init: rank 1: error: another rank did not come\n"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_of_one_rank_is_told_by_the_first(tmp_path):
    results = ranks_of(tmp_path / "c", *checkpoints.SMALL, victim="2", count=2, action=FULL)
    assert [result.returncode for result in results] == [2] * RANKS
    said = f"fastinit init: error: --out: {tmp_path / 'c'}: No space left on device; what was written is removed\n"
    assert [result.stderr for result in results] == [said, "", ""]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_first_step_is_told_by_the_first(tmp_path):
    """While the others wait for it to begin."""
    results = ranks_of(tmp_path / "c", *checkpoints.SMALL, victim="0", count=-2, action=FULL)
    assert [result.returncode for result in results] == [2] * RANKS
    said = f"fastinit init: error: --out: {tmp_path / 'c'}: No space left on device; what was written is removed\n"
    assert [result.stderr for result in results] == [said, "", ""]
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_one_rank_is_told_and_ends_the_others(tmp_path):
    results = ranks_of(tmp_path / "c", *checkpoints.SMALL, victim="2", count=2, action=RAISE)
    assert [result.returncode for result in results] == [2, 2, 1]
    assert "RuntimeError: one rank alone" in results[2].stderr
    (partial,) = tmp_path.glob("c.partial-*")
    assert one_line(results[0], 0, partial)
    assert one_line(results[1], 1, partial)


def test_what_cannot_be_is_said_once(tmp_path):
    (tmp_path / "c").mkdir()
    for options, said in (
        ((), "--out: expected a directory that does not exist"),
        (("--tp", "2"), "--tp, --ep: expected without --format hf"),
        (("--tp", "2", "--format", "dcp"), "--tp, --ep: expected degrees whose product divides 3 ranks, got 2 * 1"),
        (("--rules", "own", "--std", "1"), "--std: "),
    ):
        results = ranks_of(tmp_path / "c", *options)
        assert [result.returncode for result in results] == [2] * RANKS
        assert said in results[0].stderr
        assert [result.stderr for result in results[1:]] == ["", ""]


def test_torchrun_ends_the_ranks_in_a_line_each(tmp_path, monkeypatch):
    """One is killed; torchrun stops the others, which may be waiting for it: by its signal, or as they see that it is gone."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "if os.environ.get('RANK') == '1':\n"
        "    from fastinit.checkpoint import contents\n"
        f"    contents.fill_tasks_ = lambda task: {KILL}\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "fastinit"]
    command = [sys.executable, *launcher, "init", "tiny-moe", "--out", str(tmp_path / "c"), "--shard-size", "1KB"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode != 0
    assert not os.path.lexists(tmp_path / "c")
    (partial,) = tmp_path.glob("c.partial-*")
    (said,) = (line for line in result.stderr.splitlines() if line.startswith("fastinit init: rank 0: "))
    assert said.endswith(f"; what is written is in {partial}: --resume goes on with it")
