"""The benchmarks' bookkeeping: rows, the gate, classes of instructions, and what is generated. No time is asserted."""

import csv
import importlib.util
import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import fastinit
from fastinit import Key, LocalShard
from fastinit.fill import Fill

ROOT = Path(__file__).parents[1]
# By its path: with the repository root on the import path, kernels/ would be there as a top-level package.
_spec = importlib.util.spec_from_file_location(
    "bench", ROOT / "bench" / "__init__.py", submodule_search_locations=[str(ROOT / "bench")]
)
sys.modules["bench"] = importlib.util.module_from_spec(_spec)

from bench import (  # noqa: E402
    cpu_tables,
    gate,
    layouts,
    live,
    memory,
    micro,
    model,
    plots,
    providers,
    report,
    rows,
    sass,
    scale,
    sharded,
    small,
    tables,
    timing,
)

CPU = torch.device("cpu")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty folder of rows; the law's table stays where it is."""
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    (tmp_path / "law.md").write_text("the law\n")
    return tmp_path


@pytest.fixture
def measured(results, monkeypatch):
    """A run of the micro benchmark, a sharded weight and counted kernels, in small and made up."""
    monkeypatch.setattr(plots, "_VALUES", 2**12)
    environment = rows.environment(CPU) | {
        "load": "0.0",
        "device": "a CPU",
        "date": "2026-01-02T03:04:05Z",
        "commit": "abc",
    }
    micro_rows = [
        row
        for dtype in providers.DTYPES
        for size in (2**12, 2**14)
        for row in micro.cell(
            CPU, dtype, "linear", size // providers.DTYPES[dtype].itemsize, 0.0, tuple(providers.FILLS)
        )
    ]
    rows.append("micro", [row | environment for row in micro_rows])
    way = {
        "dtype": "float32", "global_shape": "8x4x4", "seconds": "0.5", "p20": "0.4", "p80": "0.6", "bytes_moved": "512",
        "collectives": "1", "extra_bytes_per_rank": "2048", "shard_bytes": "512", "repeats": "3",
    }  # fmt: skip
    rows.append(
        "sharded",
        [way | {"provider": name, "ranks": ranks} | environment for ranks in "12" for name in sharded.PROVIDERS],
    )
    count = {
        "classes": {"FFMA": 16, "LOP3": 8, "STG": 1}, "elements": 1, "per_element": 25, "spills": 0, "shared_bytes": 0,
        "widest_store": 128, "arch": "sm_90", "layout": "flat",
    }  # fmt: skip
    counted = [
        sass.row_of(count | {"law": law, "dtype": dtype}) for law in ("3sigma", "normal") for dtype in ("fp32", "bf16")
    ]
    compiled = rows.environment(None)
    rows.append("sass", [row | compiled for row in counted])
    return environment


def test_every_file_on_record_has_the_row_format_of_its_benchmark():
    for name, columns in rows.COLUMNS.items():
        path = ROOT / "bench" / "results" / f"{name}.csv"
        with path.open(newline="") as file:
            header, *found = list(csv.reader(file))
        assert tuple(header) == columns + rows.ENVIRONMENT
        assert all(len(row) == len(header) for row in found)


def test_rows_are_appended_and_a_file_of_other_columns_is_migrated_not_overwritten(results):
    row = dict.fromkeys(rows.COLUMNS["model"], "1") | rows.environment(CPU)
    rows.append("model", [row])
    rows.append("model", [row | {"provider": "2"}])
    assert [found["provider"] for found in rows.read("model")] == ["1", "2"]
    assert set(rows.environment(None)) == set(rows.ENVIRONMENT)

    path = results / "model.csv"
    path.write_text("provider,dtype\nsome,fp32\n")
    with pytest.raises(SystemExit, match="migrate"):
        rows.append("model", [row])
    rows.migrate("model")
    assert rows.read("model") == [dict.fromkeys(row, "") | {"provider": "some", "dtype": "fp32"}]
    path.write_text("provider,gone\nsome,1\n")
    with pytest.raises(SystemExit, match="gone"):
        rows.migrate("model")


def test_counts_of_a_commit_replace_each_other(results):
    row = dict.fromkeys(rows.COLUMNS["sass"] + rows.ENVIRONMENT, "")
    rows.append("sass", [row | {"commit": "a"}, row | {"commit": "b"}])
    rows.drop("sass", "a")
    assert [found["commit"] for found in rows.read("sass")] == ["b"]


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_a_cell_has_a_row_for_the_roof_and_each_provider(layout):
    found = micro.cell(CPU, "bfloat16", layout, 4096, 0.0, (providers.MAIN,))
    expected = {providers.ROOF, *((providers.MAIN, p) for p in (providers.OURS, providers.TORCH, providers.ERFINV))}
    assert {(row["fill"], row["provider"]) for row in found} == expected
    assert all(set(row) == {*rows.COLUMNS["micro"], "threads"} for row in found)
    assert all(int(row["elements"]) == 4096 - (layout == "misaligned") for row in found)


def test_threads_and_peers_have_tables_of_their_own(results, monkeypatch):
    peer = {"normal_": {"a peer": lambda tensor: tensor.fill_(0.0)}}
    monkeypatch.setattr(small, "measure", lambda device: [])
    monkeypatch.setattr(micro.other_libraries, "of", lambda dtype: peer)
    monkeypatch.setitem(micro.LAYOUT_BYTES, "cpu", 2**12)
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: counts.append(count))
    counts = [4]
    arguments = SimpleNamespace(device=CPU, dtypes=["float32"], budget=0.0, largest=2**14, dry=False, peers=True)
    micro.run(arguments)
    assert counts == [4, 1, 4, 2, 4, 4, 4, 1, 4], "1, 2 and 4 threads, and one for the peers"
    assert "fastinit, 1 thread | fastinit, 2 threads | fastinit, 4 threads" in cpu_tables.threads()
    assert "| a peer |" in cpu_tables.peers()
    assert "a peer" not in tables.fills("cpu") + tables.layouts("cpu")
    assert report.results().count("a peer") == 1


def test_the_reference_works_in_chunks():
    """What it takes above the tensor, 64 MiB at most, does not grow with its size; in one chunk this one would take 89."""
    tensor = torch.empty(2**20)
    whole = Fill(providers.FILLS[providers.MAIN].law, providers.KEY, LocalShard.whole((2**20,)))
    assert memory.extra_bytes(lambda: fastinit.reference.fill_(tensor, whole), CPU) < 2**24


def test_small_fills_have_rows_and_pass_the_gate(monkeypatch):
    found = [small.row_of(*name, taken) for name, taken in small.timed(small.cases(CPU), rounds=1).items()]
    assert all(set(row) == set(rows.COLUMNS["small"]) for row in found)
    assert {row["provider"] for row in found} == {providers.OURS, providers.TORCH}
    monkeypatch.setattr(fastinit, "trunc_normal_", lambda tensor, *_, **__: tensor.fill_(1.0))
    with pytest.raises(SystemExit, match="differs from the reference"):
        small.cases(CPU)


def test_nothing_is_measured_when_a_fill_is_wrong(results, monkeypatch):
    def wrong(tensor, *arguments, key, shard):
        fastinit.trunc_normal_(tensor, *arguments, key=Key(key.seed + 1, key.stream), shard=shard)

    monkeypatch.setitem(providers._PUBLIC, fastinit.law.distributions.TruncatedNormal, wrong)
    arguments = SimpleNamespace(device=CPU, dtypes=["float32"], budget=0.0, largest=1024, dry=False, peers=False)
    with pytest.raises(SystemExit, match="differs from the reference"):
        micro.run(arguments)
    assert rows.read("micro") == []


def test_the_gate_sees_one_wrong_bit_at_either_end_of_a_large_tensor():
    tensor, shard = layouts.bank(4 * gate.PART, torch.float32, CPU)
    benchmarked = providers.FILLS[providers.MAIN]
    ours = benchmarked.ours(tensor, shard)
    check = partial(gate.check, "a bank", tensor=tensor, law=benchmarked.law, key=providers.KEY, shard=shard)
    check(ours)
    for place in ((0, 0, 0), (-1, -1, -1)):

        def one_off(place=place):
            ours()
            tensor[place] += tensor[place].abs() * 2**-20

        with pytest.raises(SystemExit):
            check(one_off)


def test_a_wrong_model_is_not_measured(monkeypatch):
    small = model.moe(1, 2, (8, 8), torch.bfloat16, CPU)
    model.check(small)
    monkeypatch.setitem(model.OF_OURS, "wrong", model.by_torch)
    with pytest.raises(SystemExit):
        model.check(small)


@pytest.mark.parametrize("kind", scale.KINDS)
def test_whole_models_are_measured_with_rows_of_their_own(kind, results, monkeypatch, capsys):
    monkeypatch.setattr(scale, "EXPERTS", 4)
    monkeypatch.setattr(scale, "CALLS_AT", 4)
    assert scale.run(SimpleNamespace(sizes=[12, 24], kinds=[kind], repeats=2, dry=False)) == 0
    small, large = rows.read("scale")
    assert (small["parameters"], large["parameters"]) == ("12", "24")
    assert float(small["init_calls"]) > 0
    assert capsys.readouterr().out.count(kind) == 2
    assert f"| 24 | {kind} |" in cpu_tables.scale()


def test_live_initialisations_are_measured_with_rows_of_their_own(results, monkeypatch):
    assert live.run(SimpleNamespace(size=8, repeats=2, dry=False)) == 0
    found = rows.read("live")
    assert [(row["init"], row["collector"]) for row in found] == [(i, c) for i in live.INITS for c in ("on", "off")]
    assert cpu_tables.live().count("_` | o") == 4
    monkeypatch.setitem(live.INITS, "normal_", (live.INITS["normal_"][0], live.INITS["trunc_normal_"][1]))
    with pytest.raises(SystemExit, match="nothing is measured"):
        live.measure("normal_", "on", 8, 1)


def test_a_model_that_is_filled_otherwise_is_not_measured(monkeypatch):
    monkeypatch.setattr(scale.fastinit, "verify_model_", lambda *arguments: False)
    with scale.kind_of("plain") as parameter, pytest.raises(SystemExit, match="nothing is measured"):
        scale.measure(scale.moe(1, parameter), "plain", repeats=1)


def test_extra_memory_is_exact_and_releases_count():
    size = 2**20

    def two_at_once():
        for _ in range(3):
            first = torch.empty(size, dtype=torch.int8)
            second = torch.empty(size, dtype=torch.int8)
            del first, second

    python = memory.extra_bytes(lambda: None, CPU)
    assert 2 * size <= memory.extra_bytes(two_at_once, CPU) <= 2 * size + python + 2**14


def test_calls_take_turns():
    order = []
    calls = {name: partial(order.append, name) for name in "ab"}
    found = timing.interleaved(calls, CPU, 0.0, least=3, most=3)
    changes = "".join(name for name, before in zip(order, [None, *order], strict=False) if name != before)
    assert changes == "ab" * 4  # one round to see how often the clock wants each, and three
    assert all(t.repeats == 3 and 0 < t.p20 <= t.median <= t.p80 for t in found.values())


@pytest.mark.parametrize(
    ("opcode", "arch", "expected"),
    [
        ("FFMA", "sm_90", "fma"), ("FMNMX", "sm_90", "alu"), ("IADD3", "sm_90", "alu"), ("IMAD", "sm_90", "imad"),
        ("I2FP", "sm_90", "conversion"), ("F2FP", "sm_90", "conversion"), ("ULDC", "sm_90", "uniform"),
        ("S2UR", "sm_90", "uniform"), ("S2R", "sm_90", "memory"), ("STG", "sm_90", "memory"), ("BSSY", "sm_90", "control"),
        ("v_fmaak_f32", "gfx942", "fma"), ("v_pk_fma_f32", "gfx942", "fma"), ("v_mad_u64_u32", "gfx942", "imad"),
        ("v_cvt_f32_i32_e32", "gfx942", "conversion"), ("v_xor_b32_e32", "gfx942", "alu"),
        ("buffer_store_dwordx4", "gfx942", "memory"), ("s_load_dwordx2", "gfx942", "memory"),
        ("s_cbranch_scc1", "gfx942", "control"), ("s_and_b64", "gfx942", "uniform"),
    ],
)  # fmt: skip
def test_class_of_an_opcode(opcode, arch, expected):
    assert sass.class_of(opcode, arch) == expected


def test_kernels_are_counted_and_every_instruction_has_a_class(monkeypatch, capsys):
    monkeypatch.setattr(sass, "CASES", ("uniform/fp32/flat",))
    assert sass.run(SimpleNamespace(arch=["sm_90"], json=True)) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(row) == set(rows.COLUMNS["sass"])
    total = sum(round(float(row[name]) * 1e3) for name in sass.CLASSES)
    assert abs(total - round(float(row["per_element"]) * 1e3)) <= len(sass.CLASSES)  # each is rounded


def test_tables_say_what_was_measured_where_and_that_no_gpu_confirms_it(measured):
    text = report.speed()
    assert text.startswith(tables.UNCONFIRMED)
    origin = (
        f"a CPU, {measured['threads']} thread{'s' * (measured['threads'] != '1')}, torch {torch.__version__}, llvmlite "
        f"{measured['llvmlite']}, fastinit {fastinit.__version__} at abc, 2026-01-02"
    )
    assert text.count(origin) == 2
    assert "16 KiB" in text
    assert "25.0 instructions an fp32 element" in text

    gpu = [
        row | {"device_type": "cuda", "device": "a GPU", "driver": "1.2", "threads": ""} for row in rows.read("micro")
    ]
    rows.append("micro", gpu)
    text = report.speed()
    assert tables.UNCONFIRMED not in text
    assert text.index("a GPU, driver 1.2") < text.index("a CPU, ")
    assert tables.UNCONFIRMED not in report.results()


def test_the_latest_run_counts(measured):
    later = [row | {"date": "2026-01-03T00:00:00Z", "ns_per_element": "77"} for row in rows.read("micro")]
    rows.append("micro", later)
    assert {row["ns_per_element"] for row in tables.latest("micro", "cpu")} == {"77"}
    assert "2026-01-02" not in tables.fills("cpu")


def test_each_law_that_is_counted_has_words():
    assert {row["law"] for row in rows.read("sass")} <= tables.LAWS.keys()


def test_a_busy_machine_is_named(measured):
    assert "busy" not in tables.origin(measured)
    assert "busy with other work (load 3.5)" in tables.origin(measured | {"load": "3.5"})


def test_the_report_writes_between_the_markers_alone(measured, tmp_path, monkeypatch):
    page, results_page = tmp_path / "page.md", tmp_path / "RESULTS.md"
    around = "before\n<!-- {0}: generated -->\nold\n<!-- end of {0} -->\nafter\n"
    page.write_text(around.format("speed") + around.format("law"))
    blocks = {"speed": report.speed, "law": report.law}
    monkeypatch.setattr(report, "PAGES", {page: blocks})
    monkeypatch.setattr(report, "RESULTS", results_page)
    monkeypatch.setattr(report, "PLOTS", tmp_path / "plots")
    assert report.run(SimpleNamespace(png=None)) == 0
    text = page.read_text()
    assert text.count("before\n") == text.count("after\n") == 2
    assert "old" not in text
    assert "<!-- law: generated -->\nthe law\n<!-- end of law -->" in text
    assert report.updated(page, blocks) == text
    for line in results_page.read_text().splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.partition("(")[2].rstrip(")")).exists(), line
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="markers"):
        report.updated(page, blocks)


def test_plots_are_the_same_bytes_again(measured, tmp_path):
    first, second = (plots.write(tmp_path / name) for name in "ab")
    assert [path.name for path in first] == [path.name for path in second]
    assert {"throughput-cpu.svg", "fraction-cpu.svg", "memory-cpu.svg", "sharded-cpu.svg"} <= {
        path.name for path in first
    }
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_a_page_is_what_the_rows_say(page):
    assert report.updated(page, report.PAGES[page]) == page.read_text("utf-8"), "run python -m bench report"


def test_results_are_what_the_rows_say():
    assert report.results() == (ROOT / "bench" / "RESULTS.md").read_text("utf-8"), "run python -m bench report"
