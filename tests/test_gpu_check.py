"""tools/gpu_check.py, rehearsed from beginning to end without a GPU: nothing of it runs for the first time on the day."""

import json
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forked import Forked
from gpu import tree
from strategies import DTYPES, LAWS

tree.use()

from gpu import layouts, report, rows, runner, truth  # noqa: E402
from gpu.here import Here, Sizes  # noqa: E402
from gpu.steps import STEPS, Step  # noqa: E402

from bench import layouts as bench_layouts  # noqa: E402
from bench import rows as bench_rows  # noqa: E402
from bench.providers import MAIN, OURS, TORCH  # noqa: E402
from fastinit import Key, reference  # noqa: E402
from fastinit.fill import Fill  # noqa: E402
from fastinit.law.distributions import Uniform  # noqa: E402

HERE = Path(__file__).parent
CPU = torch.device("cpu")
COUNTED = """==PROF== Connected to process 7
18 tensors are right
"ID","Process ID","Kernel Name","Block Size","Grid Size","Section Name","Metric Name","Metric Unit","Metric Value"
"0","7","fill_rows","(128, 1, 1)","(4096, 1, 1)","Command line profiler metrics","gpu__time_duration.sum","us","61.5"
"0","7","fill_rows","(128, 1, 1)","(4096, 1, 1)","Command line profiler metrics","launch__grid_size","","4,096"
==PROF== Disconnected
"""
# They look at the target that they are to run, which has been run without a tool.
TARGET = 'case "$*" in *"python"*" -m gpu.target gpu_standin 1000") ;; *) exit 1 ;; esac'
TOOLS = {
    "compute-sanitizer": f"""#!/bin/sh
{TARGET}
[ "$1 $3 $5" = "--tool --error-exitcode --print-limit" ] || exit 1
[ $2 = racecheck ] && what=RACECHECK || what=ERROR
echo "========= $what SUMMARY: 0 errors"
""",
    "ncu": f"#!/bin/sh\n{TARGET}\ncat <<'END'\n{COUNTED}END\n",
}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The folder of a whole run, and what became of it."""
    folder = tmp_path_factory.mktemp("gpu")
    for name, text in TOOLS.items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return folder, run(folder)


def run(folder, *arguments, without=()):
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TRITON_CACHE_DIR": str(folder / "cache"),
        "TRITON_DISABLE_LINE_INFO": "1",
        "FASTINIT_COMMIT": "rehearsal",
    }
    command = [
        str(HERE.parent / "tools" / "gpu_check.py"),
        "--on",
        "gpu_standin",
        "--out",
        str(folder / "out"),
        *arguments,
    ]
    if without:
        code = f"import runpy, sys; sys.modules.update(dict.fromkeys({without})); sys.argv = {command}"
        command = ["-c", f"{code}; runpy.run_path(sys.argv[0], run_name='__main__')"]
    return Forked(*command, environment=environment).wait(timeout=600)


def of_kind(found, kind):
    return [row for row in found if row["kind"] == kind]


def test_every_step_comes_to_its_end_and_finds_nothing_wrong(rehearsed):
    folder, done = rehearsed
    found = lines(folder / "out" / "rows.jsonl")
    assert [row for row in of_kind(found, "case") if not row["ok"]] == []
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "out" / "log.txt").read_text()
    assert {row["step"] for row in of_kind(found, "case")} == set(STEPS)
    assert {row["step"] for row in of_kind(found, "step") if row["ended"]} == set(STEPS)
    assert not [row for row in of_kind(found, "case") if "not here" in row["figures"]]
    assert {row["commit"] for row in found} == {"rehearsal"}
    (machine,) = of_kind(found, "run")
    assert machine["torch"] == torch.__version__
    assert all(machine[name] for name in ("device", "triton", "date", "stream"))
    kernels = next(row["figures"] for row in found if row["kind"] == "case" and row["step"] == "counters")
    assert kernels == {"0 fill_rows": {"time": "61.5 us", "blocks": "4,096"}}


def test_the_report_says_all_of_it(rehearsed):
    folder, done = rehearsed
    text = (folder / "out" / "report.md").read_text()
    for row in of_kind(lines(folder / "out" / "rows.jsonl"), "case"):
        assert (f"### {row['step']}: {row['case']}\n" in text) == bool(row["figures"])
    assert "| fp32, 3 sigma, of fill_ | ≥ 0.95 | " in text
    assert "| 10 000 tensors of float32, ms | ≤ 50 | " in text
    assert "| sweep | fastest | us | as it is, us | |" in text
    for step in STEPS:
        assert f"\n{step} " in "\n" + done.stdout


def test_a_second_run_goes_on_where_the_first_ended(rehearsed):
    folder, _ = rehearsed
    before = lines(folder / "out" / "rows.jsonl")
    assert run(folder, "--only", "laws", "nccl").returncode == 0
    rest = lines(folder / "out" / "rows.jsonl")[len(before) :]
    assert [row["kind"] for row in rest] == ["run", "step", "step"]
    assert run(folder, "--only", "pinned", "--again").returncode == 0
    rest = lines(folder / "out" / "rows.jsonl")[len(before) + len(rest) :]
    assert [row["kind"] for row in rest] == ["run", *["began", "case"] * 2, "step"]
    assert run(folder, "--only", "laws", "--again", "--budget", "0").returncode == 1
    assert lines(folder / "out" / "rows.jsonl")[-1]["why"] == "no seconds were left"


def test_torch_triton_and_numpy_are_enough(rehearsed):
    """Nothing else can be imported: what is compared, is compared with the reference."""
    folder, _ = rehearsed
    before = lines(folder / "out" / "rows.jsonl")
    others = ("hypothesis", "llvmlite", "matplotlib", "mpmath", "numba", "pytest", "safetensors", "scipy", "tqdm")
    done = run(folder, "--only", "laws", "fills", "lists", "small", "sweep", "--again", without=others)
    assert done.returncode == 0, done.stdout + done.stderr
    rest = lines(folder / "out" / "rows.jsonl")[len(before) :]
    assert {row["step"] for row in of_kind(rest, "case")} == {"laws", "fills", "lists", "small", "sweep"}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trouble(tmp_path_factory):
    """Rows of steps in which everything goes wrong that can."""
    folder = tmp_path_factory.mktemp("trouble")
    environment = os.environ | {"FASTINIT_COMMIT": "trouble"}
    done = Forked(str(HERE / "gpu_trouble.py"), str(folder), environment=environment).wait()
    assert done.returncode == 0, done.stdout + done.stderr
    log = (folder / "log.txt").read_text()
    assert "Timeout (0:00:01)!" in log
    tools = re.findall(r"^tool (\d+)$", log, re.M)
    assert len(tools) == 2
    assert not any(Path(f"/proc/{process}").exists() for process in tools)  # ended with the case that began it
    return lines(folder / "rows.jsonl")


@pytest.mark.parametrize("step", ["trouble", "shared"])
def test_no_failure_ends_a_step(trouble, step):
    found = {row["case"]: row for row in trouble if row["kind"] == "case" and row["step"] == step}
    assert {case for case, row in found.items() if row["ok"]} == {"fine", "absent", "fine after it", "fine at last"}
    assert found["absent"]["figures"] == {"not here": "no such tool"}
    assert found["wrong"]["error"] == "Wrong: other bits"
    assert found["wrong"]["figures"] == {"elements": 7}
    assert found["gate"]["error"] == "SystemExit: differs from the reference"
    assert found["illegal"]["error"].startswith("RuntimeError: CUDA error")
    assert found["crash"]["error"] == "its process ended: SIGSEGV"
    assert found["exit"]["error"] == "its process ended: exit code 7, see log.txt"
    assert found["tool"]["error"].startswith("its process ended: ")
    assert found["hang"]["error"] == "its process ended: exit code 1, see log.txt"  # with where it hung
    assert [row["why"] for row in trouble if row["kind"] == "step" and row["step"] == step] == [""]


def test_no_step_takes_the_next_one_s_time(trouble):
    ended = {row["step"]: row for row in trouble if row["kind"] == "step"}
    assert ended["endless"]["why"] == "its seconds were spent"
    assert not ended["endless"]["ended"]
    for step in ("unable", "absent"):
        assert ended[step]["why"] == "a process began no case: exit code 1, see log.txt"
    assert [
        row for row in trouble if row.get("step") == "endless" and row["kind"] == "case"
    ] == []  # to be run the next time


@pytest.mark.parametrize(("seconds", "budget"), [(60, 7.0), (7, 60.0), (60, 0.0)], ids=["budget", "step", "nothing"])
def test_a_step_is_ended_in_time(monkeypatch, tmp_path, seconds, budget):
    """Of what is left of the budget and the step's own seconds, at the end of the shorter: by a clock that only ``sleep`` moves."""
    now, begun, stopped = [100.0], [], []

    class Worker:
        why = ""

        def __init__(self, *arguments):
            begun.append(now[0])

        def goes_on(self):
            return True

        def stop(self):
            stopped.append(now[0])

    def sleep(lasting):
        now[0] += lasting

    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(runner, "_Worker", Worker)
    monkeypatch.setattr(runner, "_forked", lambda *arguments: SimpleNamespace(exitcode=0))
    monkeypatch.setattr(runner, "_join", lambda process, end: None)
    monkeypatch.setattr(runner, "STEPS", {name: Step(name, "", seconds, 1) for name in ("one", "two")})
    file = rows.File(tmp_path / "rows.jsonl")
    list(runner.run(["one", "two"], budget, "gpu.here", file))
    ends = [100.0 + min(seconds, budget), 100.0 + min(2 * seconds, budget)]
    for end, at in zip(ends, stopped, strict=False):
        assert end <= at <= end + 2 * runner.LOOK
    # Of a budget that is spent, the next step gets none.
    assert len(begun) == len(stopped) == (0 if budget == 0 else 1 if budget < seconds else 2)
    assert {row["ended"] for row in file.read()} == {False}


def filled():
    """A place on a CPU, a tensor in a buffer, and what it is filled with."""
    here = Here(CPU, CPU, Sizes(part=100, sample=50), 1, "gloo", "eager", "")
    buffer, tensor, shard = layouts.odd_bank(2000, torch.bfloat16, CPU)
    fill = Fill(Uniform(), Key(1), shard)
    reference.fill_(tensor, fill)
    return here, buffer, tensor, fill


def test_a_right_fill_is_right():
    here, buffer, tensor, fill = filled()
    assert truth.check(here, tensor, fill) == tensor.numel()
    assert truth.is_untouched(buffer, tensor)


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 3, 2), (-1, -1, -1)])
def test_one_wrong_bit_is_found_wherever_it_is(place):
    here, _, tensor, fill = filled()
    tensor.view(torch.int16)[place] ^= 1
    with pytest.raises(truth.Wrong, match=r"^1 of \d+ elements"):
        truth.check(here, tensor, fill)


def test_a_store_outside_is_found():
    _, buffer, tensor, _ = filled()
    buffer[0, 0, 0] = 0.0
    assert not truth.is_untouched(buffer, tensor)


def test_the_cpu_s_backend_is_not_believed_alone(monkeypatch):
    here, _, tensor, fill = filled()
    monkeypatch.setattr(truth, "_fast", lambda: SimpleNamespace(__name__="llvm", fill_=lambda part, _: part.zero_()))
    with pytest.raises(truth.Wrong, match=r"differ from fastinit\.backends\.reference"):
        truth.check(here, tensor.zero_(), fill)


def test_a_backend_of_the_cpu_that_does_not_work_leaves_the_reference(monkeypatch):
    assert truth._fast.__wrapped__() is not truth.reference
    monkeypatch.setattr(truth.backends, "get", lambda name: SimpleNamespace(fill_=lambda tensor, fill: 1 / 0))
    assert truth._fast.__wrapped__() is truth.reference


def test_a_hundred_million_elements_of_each_layout_and_a_bank_past_32_bits():
    """Of each dtype, of all laws together."""
    sizes, meta = Sizes(), torch.device("meta")
    for dtype in sizes.dtypes:
        of_a_law = [layout(sizes.law, dtype, meta)[1].numel() for layout in layouts.LAYOUTS.values()]
        of_a_law.append(sum(tensor.numel() for _, tensor, _ in layouts.listed(sizes.law, dtype, meta)))
        assert min(of_a_law) * len(LAWS) >= 10**8
    assert sizes.dtypes == DTYPES
    assert math.prod(sizes.bank[1:]) * (sizes.bank[0] - 1) > 2**31
    assert sizes.experts[0] * sizes.experts[1] * 3 >= 10_000
    assert sum(step.seconds for step in STEPS.values()) <= 25 * 60
    assert all(step.case_seconds <= step.seconds for step in STEPS.values())


def measured(dtype, size, **nanoseconds):
    """Rows of the micro benchmark as they are on file."""
    names = {"ours": (MAIN, OURS), "normal": ("normal_", "Tensor.normal_"), "torch": (MAIN, TORCH)}
    return [
        {
            "fill": names[name][0], "provider": names[name][1], "dtype": dtype, "layout": "linear", "bytes": str(size),
            "ns_per_element": str(taken), "fraction_of_memset": str(nanoseconds["roof"] / taken),
        }
        for name, taken in nanoseconds.items() if name != "roof"
    ]  # fmt: skip


def test_goals_are_met_or_missed_at_the_largest_size():
    fp32 = measured("float32", 2**33, roof=0.96, ours=1.0, normal=1.9, torch=20.0)
    small = measured("float32", 2**20, roof=9.0, ours=1.0, normal=9.0, torch=99.0)
    bf16 = measured("bfloat16", 2**33, roof=0.49, ours=1.0, normal=2.0, torch=19.0)
    long = [{"dtype": "bfloat16", "provider": f"{OURS}.foreach_fill_", "seconds": "0.0501"}]
    case = {
        "kind": "case",
        "step": "fills",
        "case": "x",
        "ok": True,
        "figures": {"bench": {"micro": fp32 + small + bf16}},
    }
    lists = {"kind": "case", "step": "lists", "case": "x", "ok": True, "figures": {"bench": {"model": long}}}
    assert {goal.text: goal.verdict for goal in report.goals([case, lists])} == {
        "fp32, 3 sigma, of fill_": "met",
        "bf16, 3 sigma, of fill_": "missed",
        "fp32, times Tensor.normal_": "missed",
        "fp32, times nn.init.trunc_normal_": "met",
        "bf16, times Tensor.normal_": "met",
        "bf16, times nn.init.trunc_normal_": "missed",
        "10 000 tensors of bfloat16, ms": "missed",
        "10 000 tensors of float32, ms": "not measured",
    }
    assert {goal.verdict for goal in report.goals([case | {"ok": False}])} == {"not measured"}


def test_the_sweep_chooses_what_is_faster_beyond_the_spread():
    def row(case, **microseconds):
        figures = {name: {"median, us": m, "p20, us": m - 1, "p80, us": m + 1} for name, m in microseconds.items()}
        figures["as it is"] = figures.pop("default")
        return {"kind": "case", "step": "sweep", "case": case, "ok": True, "figures": figures}

    rows_ = [
        row("a", fill_=10, default=20, one=16),
        row("b", fill_=1, default=20, one=19),
        row("c", default=20, one=21),
    ]
    assert list(report._chosen(rows_)) == [
        "| a | one | 16 | 20 | 25.0% faster |",
        "| b | one | 19 | 20 | 5.3% faster, in doubt |",
        "| c | as it is | 20 | 20 | stays |",
    ]


def test_rows_go_to_the_benchmarks(rehearsed, tmp_path, monkeypatch):
    folder, _ = rehearsed
    monkeypatch.setattr(bench_rows, "RESULTS", tmp_path)
    monkeypatch.setattr(rows, "commit", lambda: "rehearsal")
    report.to_bench(rows.File(folder / "out" / "rows.jsonl"))
    found = {name: bench_rows.read(name) for name in ("micro", "small", "model")}
    assert {row["commit"] for name in found for row in found[name]} == {"rehearsal"}
    assert {row["layout"] for row in found["micro"]} == set(bench_layouts.LAYOUTS)
    assert {row["provider"] for row in found["model"]} >= {f"{OURS}.foreach_fill_", TORCH}
