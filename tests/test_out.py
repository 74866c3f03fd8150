"""--out: nothing is written where it cannot be, nothing is lost, and what is resumed is what is written at once."""

import errno
import fcntl
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import checkpoints
import pytest
from checkpoints import FILES, INDEX, SMALL, flip, read, write

from fastinit import __main__ as cli
from fastinit.checkpoint import contents, dcp, hf, index, place, resume, shard_file, writing
from fastinit.checkpoint.errors import UsageError
from fastinit.cli.source import contents_for


@pytest.fixture(autouse=True)
def micro(monkeypatch):
    checkpoints.with_micro(monkeypatch)


@pytest.fixture
def whole(tmp_path):
    """What a run that nothing stops writes."""
    assert write(tmp_path / "whole") == 0
    return read(tmp_path / "whole")


def at_fill(monkeypatch, count, action):
    """Do something when the fill of that number begins."""
    fill, calls = contents.fill_tasks_, []

    def filling(*arguments):
        calls.append(arguments)
        if len(calls) == count:
            action()
        fill(*arguments)

    monkeypatch.setattr(contents, "fill_tasks_", filling)


def interrupt(monkeypatch, directory, count, number=signal.SIGTERM):
    """A run that a signal stops when the file of that number is being filled; its partial folder."""
    with monkeypatch.context() as patch:
        at_fill(patch, count, lambda: os.kill(os.getpid(), number))
        assert write(directory) == 128 + number
    return next(iter(directory.parent.glob(f"{directory.name}.partial-*")), None)


def make_file(path):
    path.write_text("mine")


def make_dangling_link(path):
    path.symlink_to("nowhere")


def make_full_folder(path):
    path.mkdir()
    (path / "mine").touch()


@pytest.mark.parametrize("make", [make_file, make_dangling_link, make_full_folder, os.mkdir])
def test_a_name_that_exists_is_refused_and_left_alone(tmp_path, capsys, make):
    make(tmp_path / "c")
    before = os.lstat(tmp_path / "c")
    assert write(tmp_path / "c") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert os.path.samestat(before, os.lstat(tmp_path / "c"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("new/..", "expected the name of a new folder"),
        ("..", "expected the name of a new folder"),
        ("a" * 250, "File name too long"),
        ("a" * 235, "File name too long"),  # that of the partial folder
        ("mine/c", "Not a directory"),
        ("loop/c", "symbolic links"),
        ("/proc/c", "No such file or directory"),  # not even root may make one there
    ],
)
def test_a_name_that_cannot_be_is_refused_before_a_fill(tmp_path, capsys, monkeypatch, name, said):
    (tmp_path / "mine").touch()
    (tmp_path / "loop").symlink_to("loop")
    at_fill(monkeypatch, 1, lambda: pytest.fail("a file was filled"))
    assert write(os.path.join(tmp_path, name)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "mine"]


def test_two_runs_into_one_folder(tmp_path, capsys, monkeypatch, whole):
    codes = []
    at_fill(monkeypatch, 3, lambda: codes.extend([write(tmp_path / "c"), write(tmp_path / "c", "--resume")]))
    assert write(tmp_path / "c") == 0
    assert codes == [2, 2]
    assert capsys.readouterr().err.count(f"another run is writing {tmp_path / 'c'}") == 2
    assert read(tmp_path / "c") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "whole"]


def at_lock(monkeypatch, action):
    """Do something in the moment before the first lock is taken."""
    flock, calls = fcntl.flock, []

    def locking(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            action()
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", locking)


def test_another_run_ends_well_in_the_moment_before(tmp_path, capsys, monkeypatch):
    at_lock(monkeypatch, (tmp_path / "c").mkdir)
    assert write(tmp_path / "c") == 2
    assert "expected a directory that does not exist" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_lock_on_a_file_that_is_gone_is_none(tmp_path, capsys, monkeypatch):
    at_lock(monkeypatch, lambda: next(tmp_path.glob(".c.*")).unlink())
    codes = []
    at_fill(monkeypatch, 3, lambda: codes.append(write(tmp_path / "c")))
    assert write(tmp_path / "c") == 0
    assert codes == [2]
    assert "another run is writing" in capsys.readouterr().err


def test_without_locks_the_name_is_held_by_the_file(tmp_path, capsys, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    codes = []
    at_fill(monkeypatch, 3, lambda: codes.append(write(tmp_path / "c")))
    assert write(tmp_path / "c") == 0
    assert codes == [2]
    assert "this file system has no locks" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_equal_process_ids_are_no_obstacle(tmp_path, monkeypatch, whole):
    """Two containers on one file system: a dead run's partial folder does not stand in the way of another name's."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    (tmp_path / f"c.partial-{os.getpid()}").mkdir()
    assert write(tmp_path / "c") == 0
    assert read(tmp_path / "c") == whole


def test_folders_above_are_made_and_not_left(tmp_path, monkeypatch, whole):
    assert write(tmp_path / "a" / "b" / "c") == 0
    assert read(tmp_path / "a" / "b" / "c") == whole
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert write(tmp_path / "d" / "e" / "f") == 2
    assert not (tmp_path / "d").exists()


BLOCKS = FILES + 2  # with config.json and generation_config.json


def test_a_disk_without_room_is_told_before_a_byte(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=BLOCKS * 4096 - 1))
    assert write(tmp_path / "c") == 2
    assert "--out: 0.0819 MB are needed, and 0.0819 MB are free in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=BLOCKS * 4096))
    assert write(tmp_path / "c") == 0


def test_a_disk_that_becomes_full_ends_in_a_line(tmp_path, capsys, monkeypatch):
    """Of the size that the system allows a file only a part: taking the space fails, as on a full disk."""
    assert write(tmp_path / "compiled") == 0
    shutil.rmtree(tmp_path / "compiled")
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        code = cli.main(["init", "tiny-moe", "--out", str(tmp_path / "c"), *SMALL])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert capsys.readouterr().err.endswith("/c: File too large; what was written is removed\n")
    assert list(tmp_path.iterdir()) == []


def test_space_is_taken_before_it_is_filled(tmp_path, monkeypatch):
    """A disk that will be full is told at a file's beginning, and not after hours."""
    seen = []

    def no_holes():
        (partial,) = tmp_path.glob("c.partial-*")
        seen.extend(path.stat().st_blocks * 512 >= path.stat().st_size for path in partial.iterdir())

    at_fill(monkeypatch, FILES - 1, no_holes)
    assert cli.main(["init", "tiny-moe", "--out", str(tmp_path / "c"), *SMALL]) == 0
    assert len(seen) == FILES - 1 + 3  # the index, and what lies beside
    assert all(seen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_what_can_be_resumed_and_names_it(tmp_path, capsys, monkeypatch, number):
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    partial = interrupt(monkeypatch, tmp_path / "c", 6, number)
    how = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    said = f"fastinit init: {how}: 5 of {FILES} files are in {partial}: --resume goes on with them\n"
    assert capsys.readouterr().err == said
    assert list(tmp_path.iterdir()) == [partial]
    assert {each: signal.getsignal(each) for each in handlers} == handlers
    assert cli.main(["verify", str(partial)]) == 2


def test_a_signal_before_the_first_file_leaves_nothing(tmp_path, capsys, monkeypatch):
    assert interrupt(monkeypatch, tmp_path / "c", 1) is None
    assert capsys.readouterr().err == "fastinit init: stopped by SIGTERM: what was written is removed\n"
    assert list(tmp_path.iterdir()) == []


class Interrupted:
    """Raises ``KeyboardInterrupt`` when a line of the writers is run for the first time; without a line it collects them."""

    def __init__(self, line=None):
        self.lines, self._line = {}, line

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in WRITERS:
            return None
        line = frame.f_code.co_filename, frame.f_lineno
        if event == "line":
            self.lines[line] = None
            if line == self._line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self

    def run(self, action):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            action()
        finally:
            sys.settrace(before)


WRITERS = {module.__file__ for module in (dcp, hf, index, place, resume, shard_file, writing)}


def open_files(folder):
    """What this process has open there, once nothing refers to it any more but itself."""

    def found():
        links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
        return [path for path in (os.readlink(link) for link in links if os.path.lexists(link)) if str(folder) in path]

    if found():
        gc.collect()
    return found()


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO name=.*fastinit-lock"
)  # the last reference closes it
@pytest.mark.parametrize("form", ["hf", "dcp"])
def test_an_interrupt_at_any_line_is_told_and_leaves_nothing_unnamed(tmp_path, monkeypatch, form):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of files are written
    final, threads = tmp_path / "c", set(threading.enumerate())
    model = contents_for(Namespace(source="micro-moe", rules="llama_depth", seed=7, format=form))
    model = replace(model.only(list(model)[:3]), beside=model.beside)

    def run(resume):
        made = hf.HuggingFace(model, 1) if form == "hf" else dcp.Distributed(model)
        writing.write(final, made, lambda size: None, resume)

    def clear():
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begun():
        """A run that is gone on with: of hf one file is right, of dcp there is only a beginning."""
        run(resume=False)
        final.rename(tmp_path / f"c.partial-{0:016x}")
        for path in tmp_path.glob("*/*"):
            if path.name.startswith(("model-00002", "model-00003", ".metadata")):
                path.unlink()

    for resumed in (False, True):
        clear()
        if resumed:
            begun()
        counting = Interrupted()
        counting.run(partial(run, resumed))
        expected = read(final)
        for line in counting.lines:
            clear()
            if resumed:
                begun()
            with pytest.raises(KeyboardInterrupt) as stop:
                Interrupted(line).run(partial(run, resumed))
            said = str(stop.value)
            del stop
            left = list(tmp_path.glob("c.partial-*"))
            assert not left or resumed or str(left[0]) in said, line
            assert "removed" not in said or not left, line
            assert "in place" not in said or final.exists(), line
            assert open_files(tmp_path) == [], line
            assert set(threading.enumerate()) == threads
            if not final.exists():
                run(resume=True)
            assert read(final) == expected, line
            assert {path.name for path in tmp_path.iterdir()} <= {"c", ".c.fastinit-lock"}, line  # which nobody holds


def interrupted(descriptor):
    os.kill(os.getpid(), signal.SIGTERM)


def full(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("action", "code", "said"),
    [(interrupted, 143, "stopped by SIGTERM: what"), (full, 2, "error: --out: {}: No space left on device; what")],
)
def test_what_comes_while_torch_writes_is_told_in_a_line(tmp_path, capsys, monkeypatch, action, code, said):
    """Torch's C++ asks for the bytes to be written, and makes an error of its own of any other."""
    write_bytes = dcp._Counted.write

    def writing_bytes(file, data):
        if file.count:
            action(file)
        return write_bytes(file, data)

    monkeypatch.setattr(dcp._Counted, "write", writing_bytes)
    assert cli.main(["init", "micro-moe", "--out", str(tmp_path / "c"), "--format", "dcp"]) == code
    assert capsys.readouterr().err == f"fastinit init: {said.format(tmp_path / 'c')} was written is removed\n"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_as_the_partial_folder_is_made_leaves_nothing(tmp_path, capsys, monkeypatch):
    mkdir = Path.mkdir

    def making(path, *arguments, **options):
        mkdir(path, *arguments, **options)
        if ".partial-" in path.name:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Path, "mkdir", making)
    assert write(tmp_path / "c") == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "fastinit init: stopped by SIGTERM: what was written is removed\n"
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_held_while_any_rank_may_write(tmp_path):
    """The first one may be gone before another one is, which then still writes into the folder that would be gone on with."""
    final = tmp_path / "c"
    with place.reserved(final, shared=True):
        other = place.joined(final)
        other.__enter__()
    with pytest.raises(UsageError, match="another run is writing"), place.reserved(final):
        pass
    other.__exit__(None, None, None)
    with place.reserved(final, shared=True), place.joined(final), place.joined(final):
        pass
    assert [path.name for path in tmp_path.iterdir()] == []


def test_an_error_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("no beads")

    at_fill(monkeypatch, 6, fail)
    with pytest.raises(RuntimeError, match="no beads"):
        write(tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_partial_checkpoint_is_named_by_the_next_run(tmp_path, capsys, monkeypatch):
    partial = interrupt(monkeypatch, tmp_path / "c", 6)
    before = read(partial)
    capsys.readouterr()
    assert write(tmp_path / "c") == 2
    assert f"a partial checkpoint lies in {partial}: --resume goes on with it" in capsys.readouterr().err
    assert read(partial) == before
    assert write(tmp_path / "other") == 0


@pytest.mark.parametrize("count", [2, 3, FILES])
def test_resumed_is_written_at_once(tmp_path, capsys, monkeypatch, whole, count):
    interrupt(monkeypatch, tmp_path / "c", count)
    assert write(tmp_path / "c", "--resume") == 0
    assert f"{count - 1} of {FILES} files were there, and proved to be right" in capsys.readouterr().out
    assert read(tmp_path / "c") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "whole"]


def test_a_run_killed_before_its_first_file_is_resumed(tmp_path, monkeypatch, whole):
    partial = interrupt(monkeypatch, tmp_path / "c", 2)
    for path in partial.glob("*.safetensors"):
        path.unlink()
    os.truncate(partial / f"{INDEX}.partial", 10)
    assert write(tmp_path / "c", "--resume") == 0
    assert read(tmp_path / "c") == whole


def test_a_run_killed_before_its_last_step_is_resumed(tmp_path, monkeypatch, whole):
    """All files have their names, and only the folder has not."""
    with monkeypatch.context() as patch:
        patch.setattr("fastinit.checkpoint.place.publish", lambda partial, final: os.kill(os.getpid(), signal.SIGTERM))
        assert write(tmp_path / "c") == 143
    (partial,) = tmp_path.glob("c.partial-*")
    assert read(partial) == whole
    assert write(tmp_path / "c", "--resume") == 0
    assert read(tmp_path / "c") == whole


def write_nothing(path):
    os.truncate(path, 0)


def write_half(path):
    os.truncate(path, path.stat().st_size // 2)


def make_fifo(path):
    path.unlink()
    os.mkfifo(path)


def make_link(path):
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize("lose", [write_nothing, write_half, os.unlink, make_fifo, make_link])
def test_a_lost_index_is_told_by_the_headers(tmp_path, capsys, monkeypatch, whole, lose):
    partial = interrupt(monkeypatch, tmp_path / "c", 6)
    cut(next(iter(partial.glob("model-00002-*"))))
    lose(partial / f"{INDEX}.partial")
    before = sorted(os.listdir(partial))
    assert write(tmp_path / "c", "--resume", "--seed", "8") == 2
    assert f"--resume: {partial} is of another recipe: seed 7\n" in capsys.readouterr().err
    assert sorted(os.listdir(partial)) == before
    assert write(tmp_path / "c", "--resume") == 0
    assert f"4 of {FILES} files were there" in capsys.readouterr().out
    assert read(tmp_path / "c") == whole


@pytest.mark.parametrize("pattern", ["model-00002-*", f"{INDEX}.partial"])
def test_a_folder_in_the_place_of_a_file_is_to_be_removed(tmp_path, capsys, monkeypatch, whole, pattern):
    partial = interrupt(monkeypatch, tmp_path / "c", 6)
    (path,) = partial.glob(pattern)
    path.unlink()
    path.mkdir()
    capsys.readouterr()
    assert write(tmp_path / "c", "--resume") == 2
    assert capsys.readouterr().err == f"fastinit init: error: --resume: expected files, got folders: remove {path}\n"
    path.rmdir()
    assert write(tmp_path / "c", "--resume") == 0
    assert read(tmp_path / "c") == whole


def test_resuming_does_not_write_the_index_again(tmp_path, monkeypatch):
    """A kill in that moment would leave files that nobody can tell the recipe of."""
    partial = interrupt(monkeypatch, tmp_path / "c", 6)
    before = (partial / f"{INDEX}.partial").stat()
    assert write(tmp_path / "c", "--resume") == 0
    after = (tmp_path / "c" / INDEX).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_resume_without_a_partial_starts_anew(tmp_path, whole):
    assert write(tmp_path / "c", "--resume") == 0
    assert read(tmp_path / "c") == whole


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def blank(path):
    path.write_bytes(bytes(path.stat().st_size))


def link(path):
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def other_recipe(path):
    header, data = checkpoints.split(path.read_bytes())
    header["__metadata__"]["fastinit"] = header["__metadata__"]["fastinit"].replace('"seed": 7', '"seed": 8')
    path.write_bytes(checkpoints.joined(header, data))


@pytest.mark.parametrize("damage", [flip, cut, blank, link, fifo, other_recipe, os.unlink])
def test_resume_trusts_nothing_that_it_does_not_prove(tmp_path, capsys, monkeypatch, whole, damage):
    partial = interrupt(monkeypatch, tmp_path / "c", 6)
    damage(next(iter(partial.glob("model-00002-*"))))
    assert write(tmp_path / "c", "--resume") == 0
    assert f"4 of {FILES} files were there" in capsys.readouterr().out
    assert read(tmp_path / "c") == whole
    assert not any(path.is_symlink() for path in (tmp_path / "c").iterdir())


def test_another_recipe_is_not_gone_on_with(tmp_path, capsys, monkeypatch):
    partial = interrupt(monkeypatch, tmp_path / "c", 6)
    before = read(partial)
    for option, said in (
        (("--seed", "8"), "seed 7"),
        (("--std", "0.5"), "rules 'llama_depth, std 0.02'"),
        (("--dtype", "fp32"), "other tensors"),
    ):
        assert write(tmp_path / "c", "--resume", *option) == 2
        assert f"--resume: {partial} is of another recipe: {said}" in capsys.readouterr().err
    (partial / "mine").touch()
    assert write(tmp_path / "c", "--resume") == 2
    assert "holds what is no part of it: mine" in capsys.readouterr().err
    (partial / "mine").unlink()
    assert read(partial) == before


def test_a_full_disk_does_not_take_what_another_run_wrote(tmp_path, capsys, monkeypatch, whole):
    partial = interrupt(monkeypatch, tmp_path / "c", 6)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert write(tmp_path / "c", "--resume") == 2
    said = f"No space left on device; 5 of {FILES} files are in {partial}: --resume goes on with them\n"
    assert capsys.readouterr().err.endswith(said)
    assert write(tmp_path / "c", "--resume") == 0
    assert read(tmp_path / "c") == whole


def test_resume_asks_for_the_space_that_is_missing(tmp_path, capsys, monkeypatch):
    interrupt(monkeypatch, tmp_path / "c", 6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=(FILES - 5) * 4096))
    assert write(tmp_path / "c", "--resume") == 0


def test_a_name_taken_at_the_end_loses_nothing(tmp_path, capsys, monkeypatch, whole):
    at_fill(monkeypatch, FILES - 1, lambda: make_full_folder(tmp_path / "c"))
    assert write(tmp_path / "c") == 2
    assert f"{FILES} of {FILES} files are in" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "c")
    assert write(tmp_path / "c", "--resume") == 0
    assert read(tmp_path / "c") == whole


@pytest.mark.parametrize("stopped_at", [None, 6])
def test_what_has_the_name_is_on_the_disk(tmp_path, monkeypatch, stopped_at):
    """Files and their folder are waited for before the folder gets its name, and the name after it."""
    if stopped_at:
        interrupt(monkeypatch, tmp_path / "c", stopped_at)
    events, sync, rename = [], os.fsync, os.rename

    def syncing(descriptor):
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def renaming(old, new, **options):
        events.append((str(old), str(new)))
        rename(old, new, **options)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    assert write(tmp_path / "c", "--resume") == 0
    (last,) = (k for k, event in enumerate(events) if event[1] == str(tmp_path / "c"))
    partial = events[last][0]
    files = {f"{partial}/{name}" for name in read(tmp_path / "c")} - {f"{partial}/{INDEX}"}
    assert files | {partial} <= {event for event in events[:last] if isinstance(event, str)}
    index = events.index((f"{partial}/{INDEX}.partial", f"{partial}/{INDEX}"))
    assert f"{partial}/{INDEX}.partial" in events[:index]
    assert index < last - 1 == events.index(partial)
    assert events[last + 1 :] == [str(tmp_path)]


SLOW = """
import sys, threading
import checkpoints, pytest
from fastinit.checkpoint import contents, dcp, hf, index, place, resume, shard_file, writing
from fastinit.checkpoint.errors import UsageError
from fastinit.cli.source import contents_for
checkpoints.with_micro(pytest.MonkeyPatch())
fill, calls = contents.fill_tasks_, []
def filling(*arguments):
    calls.append(arguments)
    if len(calls) == 6:
        print("here", flush=True)
        threading.Event().wait()
    fill(*arguments)
contents.fill_tasks_ = filling
sys.exit(checkpoints.write(sys.argv[1]))
"""


def test_a_kill_leaves_the_name_free_and_what_can_be_resumed(tmp_path, capsys, whole):
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    command = [sys.executable, "-c", SLOW, str(tmp_path / "c")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
    assert not os.path.lexists(tmp_path / "c")
    (partial,) = tmp_path.glob("c.partial-*")
    assert cli.main(["verify", str(partial)]) == 2
    assert write(tmp_path / "c", "--resume") == 0
    assert f"5 of {FILES} files were there" in capsys.readouterr().out
    assert read(tmp_path / "c") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "whole"]


BIG = """
import sys
import threading
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
import torch
from fastinit.checkpoint.contents import Contents
from fastinit.checkpoint.dcp import Distributed
from fastinit.checkpoint.hf import HuggingFace
from fastinit.checkpoint.writing import write
from fastinit.law.distributions import TruncatedNormal
from fastinit.model.tiles import Tile
from fastinit.recipe.entries import Entry
from fastinit.shard.geometry import LocalShard

law, told = TruncatedNormal(0.0, 0.02, -0.06, 0.06), []

def contents(shape, count):
    entries = {}
    for name in map(str, range(count)):
        entries[name] = Entry(name, (), shape, (Tile((0, 0), shape, law, name, LocalShard.whole(shape)),))
    return Contents("here", "mine", 0, entries, dict.fromkeys(entries, torch.bfloat16))

def peak():  # of this program: getrusage has that of the process, which was another one's before
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

form = {"hf": lambda held: HuggingFace(held, 2 * 10**8), "dcp": Distributed}[sys.argv[2]]
write(Path(sys.argv[1], "small"), form(contents((8, 8), 3)), told.append)
imports = peak()
big = contents((4096, 10240), 5)
told.clear()
write(Path(sys.argv[1], "big"), form(big), told.append)
assert sum(told) == big.total_size and max(told) <= 2**24
print(imports, peak(), big.size("0"))
"""
PARTS = 4 * 2**24  # bytes: what is filled at a time, what the fill itself takes, and what of it the allocator keeps


@pytest.mark.parametrize("form", ["hf", "dcp"])
def test_no_more_is_held_than_a_part(tmp_path, form):
    """400 MB in tensors of 80: next to what the imports take, a few parts; and all of it 300 MB more than a tensor."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", BIG, str(tmp_path), form]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    imports, peak, largest = map(int, done.stdout.split())
    assert peak - imports < PARTS
    assert peak < largest + 3 * 10**8
    shutil.rmtree(tmp_path / "big")
