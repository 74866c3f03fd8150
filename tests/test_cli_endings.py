"""However a command ends, it says so in one line, with the right code; what it cannot do as asked it refuses."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forked import Forked

from fastinit import __main__ as cli
from fastinit.checkpoint.errors import Stopped
from fastinit.cli import doctor, in_memory
from fastinit.cli.signals import stoppable
from fastinit.model.presets import presets

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INIT = ["init", "tiny-moe"]


def ended(arguments):
    """The exit code, be it argparse's."""
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*INIT, "--out", ""], "argument --out: expected the path of a folder, got ''"),
        (["verify", ""], "argument DIR: expected the path of a folder, got ''"),
        ([*INIT, "--resume"], "--resume: expected --out, the checkpoint to go on with"),
        ([*INIT, "--out", "c", "--shards", "2"], "--shards: expected without --out"),
        ([*INIT, "--out", "c", "--compare"], "--compare: expected without --out"),
        ([*INIT, "--out", "c", "--no-digest"], "--no-digest: expected without --out"),
        ([*INIT, "--out", "c", "--device", "cpu"], "--device: expected without --out"),
        ([*INIT, "--out", "c", "--device", "cpu", "--no-digest"], "--device, --no-digest: expected without --out"),
        ([*INIT, "--out", "c", "--device", ""], "--device: expected without --out"),
        (["plan", "tiny-moe", "--seed", "7"], "unrecognized arguments: --seed 7"),
        ([*INIT, "--out", "c", "--layers", "4"], "--layers: expected at most the 3 of tiny-moe, got 4"),
        ([*INIT, "--shards", "1025"], "argument --shards: expected at most 1,024, got 1025"),
        (["init", "tiny-moa"], "got 'tiny-moa': did you mean tiny-moe?"),
        (["init", "olmoe"], "got 'olmoe': did you mean olmoe-1b-7b?"),
        (["plan", "mixtral-8x7"], "got 'mixtral-8x7': did you mean mixtral-8x7b?"),
        (["plan"], "SOURCE: expected a model, or --recipe for the parameters of a stored recipe"),
        (["plan", "tiny-moe", "--recipe", "r.json"], "r.json: No such file or directory"),
        (["plan", "--recipe", "r.json", "--rules", "llama"], "--rules: expected none with --recipe"),
        (["plan", "tiny-moe", "--rules", "normal", "--save", "r.json"],
         "--save: expected the laws of a recipe, --rules own, got normal"),
        (["plan", "planned_model:build", "--rules", "llama", "--diff", "r.json"], "--diff: expected the laws of a recipe"),
        *(([command, "tiny-moe", "--std", "1"], "--std: expected none but with a method") for command in ("plan", "init")),
        *(([command, "planned_model:build", "--layers", "1"], "--layers: expected none but for a preset")
          for command in ("plan", "init")),
        (["init", "deepseek-v3", "--layers", "62", "--out", "c"], "--layers: expected at most the 61 of deepseek-v3, got 62"),
        (["plan", "planned_model:build", "--diff", "r.json"], "r.json: No such file or directory"),
        (["plan", ""], "or package.module:function, got ''"),
        (["plan", "planned_model"], "or package.module:function, got 'planned_model'"),
        (["plan", "os:sep"], "SOURCE: expected package.module:function, got 'os:sep': it is no function"),
        (["plan", "os:nothing"], "SOURCE: expected a model from os:nothing, got AttributeError: "),
        (["plan", "no_module:f"], "SOURCE: expected a model from no_module:f, got ModuleNotFoundError: "),
        *(
            (["plan", source, "--rules", rules], said)
            for rules in ("own", "llama")
            for source, said in (
                ("os:getcwd", "SOURCE: expected a function that returns a torch.nn.Module, got str"),
                ("os:chdir", "SOURCE: expected a model from os:chdir, got TypeError: "),
                ("sys:exit", "SOURCE: expected a model from sys:exit, got SystemExit: "),
            )
        ),
        (
            ["plan", "planned_model:build", "--rules", "normal", "--std", "1e308"],
            "wq.weight: std: expected a number within fp32's range",
        ),
        *(
            ([command, "tiny-moe", "--method", method, "--std", std, *options], "std: expected a number within fp32's range")
            for std in ("1e308", "1e39")
            for method in ("normal", "llama")
            for command, *options in (
                ("plan",), ("init", "--out", "c"), *(("init", "--dtype", dtype) for dtype in ("fp32", "bf16", "fp16", "fp64")),
            )
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_done_as_asked_is_refused(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert ended(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_preset_like_none_gets_no_guess(capsys):
    assert ended(["init", "gpt"]) == 2
    expected = f"expected one of {', '.join(presets())}, a config.json of transformers or its folder, or "
    assert capsys.readouterr().err.endswith(f"{expected}package.module:function, got 'gpt'\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(5, "Input/output error", "/data/x"), 2, "fastinit doctor: error: /data/x: Input/output error\n"),
        (PermissionError(13, "Permission denied", "a\nb"), 2, "fastinit doctor: error: 'a\\nb': Permission denied\n"),
        (OSError("no number"), 2, "fastinit doctor: error: no number\n"),
        (BrokenPipeError(), 141, ""),
        (KeyboardInterrupt(), 130, "fastinit doctor: interrupted\n"),
    ],
    ids=repr,
)
def test_what_the_system_refuses_is_told_in_a_line(monkeypatch, capsys, error, code, said):
    def run(arguments):
        raise error

    monkeypatch.setattr(doctor, "run", run)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().err == said
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # no other rank is waited for
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor"])
    assert stop.value.code == code


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_fill_in_a_line(monkeypatch, capsys, number):
    fill = in_memory.fill_plan_

    def filling(*arguments):
        os.kill(os.getpid(), number)
        fill(*arguments)

    monkeypatch.setattr(in_memory, "fill_plan_", filling)
    before = [signal.getsignal(each) for each in SIGNALS]
    assert cli.main([*INIT, "--device", "cpu"]) == 128 + number
    how = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    assert capsys.readouterr().err == f"fastinit init: {how}\n"
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_only_the_first_signal_is_heard(number):
    def stopped_while_tidying_up():
        with stoppable():
            try:
                os.kill(os.getpid(), number)
            finally:
                for other in SIGNALS:
                    os.kill(os.getpid(), other)

    with pytest.raises(Stopped) as stop:
        stopped_while_tidying_up()
    assert stop.value.number == number


class Deaf:
    """Python swallows what is raised as it is deleted."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_python_swallowed_is_heard_the_next_time(monkeypatch):
    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: swallowed.append(raised.exc_type))
    with stoppable():
        Deaf()
        assert swallowed == [Stopped]
        for number in SIGNALS:
            with pytest.raises(Stopped):
                os.kill(os.getpid(), number)


def test_a_second_signal_does_not_end_what_is_told_of_the_first(monkeypatch, capsys):
    def run(arguments):
        os.kill(os.getpid(), signal.SIGTERM)

    class Told(io.StringIO):
        def write(self, text):
            os.kill(os.getpid(), signal.SIGINT)
            return super().write(text)

    monkeypatch.setattr(doctor, "run", run)
    monkeypatch.setattr(sys, "stderr", Told())
    assert cli.main(["doctor"]) == 143
    assert sys.stderr.getvalue() == "fastinit doctor: stopped by SIGTERM\n"


def test_an_ignored_signal_stays_ignored():
    """As nohup asks for; and a handler of somebody else's stays, too."""
    heard = []
    before = (
        signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.signal(signal.SIGTERM, lambda *_: heard.append("mine")),
    )
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert heard == ["mine"]


def test_signals_are_left_alone_elsewhere(monkeypatch, capsys):
    """In another thread, which Python lets handle none, and under torchrun, which ends its ranks by them."""
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["plan", "tiny-moe"])))
    thread.start()
    thread.join()
    assert codes == [0]
    before = [signal.getsignal(each) for each in SIGNALS]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with stoppable():
        assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME;ls", "-x", "é", "plain", "a\nb'c", "\x1b[2J", "\udcff"])
def test_the_command_that_proves_it_can_be_pasted(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*INIT, f"--out={name}"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.isprintable()
    words = line.removeprefix("prove it at any time: ")
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True).stdout
    program, *arguments = map(os.fsdecode, read.split(b"\0")[:-1])
    assert program == "fastinit"
    assert cli.main(arguments) == 0


def run(*arguments, **options):
    """The installed command, with output that Python buffers as it does for a user."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= options.pop("environment", {})
    command = [sys.executable, "-m", "fastinit", *arguments]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False, **options)


def test_a_reader_that_leaves_ends_it_quietly(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = run("plan", "tiny-moe", stdout=writer, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_output_that_does_not_fit_is_told_in_a_line(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = run("plan", "tiny-moe", stdout=full, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "fastinit plan: error: No space left on device\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_import_of_torch_in_a_line(tmp_path, number):
    """Of which this one, like torch's C++ as it imports numpy, would go on without."""
    (tmp_path / "torch.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {number:d})\nexcept BaseException:\n    pass\nprint('went on')"
    )
    done = run("plan", "tiny-moe", stdout=subprocess.PIPE, cwd=tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    how = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"fastinit plan: {how}\n")


@pytest.mark.parametrize(("option", "code"), [("--version", 0), ("--help", 0), ("--wrong", 2)])
def test_what_needs_no_torch_imports_none(tmp_path, option, code):
    (tmp_path / "torch.py").write_text("raise SystemExit(9)")
    done = run(option, stdout=subprocess.DEVNULL, cwd=tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == code


def closed(close, tmp_path):
    """What verify of no checkpoint ends with in a process without that stream."""
    code = f"import os, sys\n{close}\nfrom fastinit import __main__ as cli\n"
    return Forked("-c", code + f"os.chdir({str(tmp_path)!r})\nos._exit(cli.main(['verify', 'none']))").wait()


@pytest.mark.parametrize("close", ["sys.{} = None", "sys.{}.close()"])
def test_streams_that_are_not_there(tmp_path, close):
    said = "fastinit verify: error: none: expected a checkpoint: No such file or directory\n"
    without_output = closed(close.format("stdout"), tmp_path)
    assert (without_output.returncode, without_output.stderr) == (2, said)
    without_errors = closed(close.format("stderr"), tmp_path)
    assert (without_errors.returncode, without_errors.stdout) == (2, "")


@pytest.mark.parametrize("missing", [(), (1,), (1, 2), (0, 1, 2)])
def test_no_file_gets_the_descriptor_of_a_stream_that_is_not_there(missing):
    """A shard of a checkpoint would have what a library writes to its standard output in it."""
    code = (
        "import os\nfrom fastinit.cli.process import occupy_standard_streams\n"
        f"for k in {missing}: os.close(k)\n"
        "occupy_standard_streams()\nos.write(2, b'')\nos._exit(os.open(os.devnull, os.O_RDONLY))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), BrokenPipeError()])
def test_there_is_nothing_to_drop_without_a_stream(monkeypatch, error):
    def run(arguments):
        raise error

    monkeypatch.setattr(doctor, "run", run)
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["doctor"]) == (141 if isinstance(error, BrokenPipeError) else 2)


def test_a_path_that_the_terminal_cannot_show(tmp_path):
    code = "import os, sys\nsys.stdout.reconfigure(encoding='ascii', errors='strict')\n"  # as PYTHONIOENCODING does
    code += f"os.chdir({str(tmp_path)!r})\nsys.argv[1:] = {[*INIT, '--out', 'é']}\n"
    done = Forked("-c", code + "from fastinit.__main__ import command\ncommand()").wait()
    assert (done.returncode, done.stderr) == (0, "")
    assert "'\\xe9': 75 tensors" in done.stdout


def test_an_interrupt_when_all_is_done_is_no_traceback(tmp_path):
    """Under torchrun, which sends it on while the ranks leave."""
    code = (
        "import os, signal\nfrom fastinit.cli import process\n"
        "process._leave_together = lambda: os.kill(os.getpid(), signal.SIGINT)\nprocess.run_and_end(lambda: 0)"
    )
    done = Forked("-c", code, environment=os.environ | {"TORCHELASTIC_RUN_ID": "none"}).wait()
    assert (done.returncode, done.stderr) == (130, "")
