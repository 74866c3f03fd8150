"""The compiled kernels: their PTX, executed on the CPU for every thread, fills as the reference does, bit for bit."""

import ast
import re
from itertools import product
from pathlib import Path

import pytest
import torch
from laws import assert_same_bits
from ptx.arithmetic import OPERATIONS, Operation, fma_of_pairs
from ptx.text import PtxError
from ptx_cases import (
    ARCHES,
    EXTREMES,
    FLAT,
    LIST,
    LOOP,
    ODD,
    PLACES,
    SMALL,
    TWOS,
    WHOLE,
    Case,
    cases,
    group_of,
    of_twos,
    to_edit,
)
from ptx_runs import Recorded, executed, expected, recorded
from strategies import DTYPES, LAWS

from fastinit import reference
from fastinit.law.lowered import Regime
from fastinit.law.lowering import lower


def test_every_regime_dtype_layout_and_word_is_among_the_fills():
    def of(case):
        return {(lower(part.fill.distribution).regime, part.dtype) for part in case.parts}

    chosen = {arch: cases(arch) for arch in ARCHES}
    for of_arch in chosen.values():
        assert {regime for case in of_arch for regime, _ in of(case)} == set(Regime)
    fills = [part for of_arch in chosen.values() for case in of_arch for part in case.parts]
    assert {(part.fill.distribution, part.dtype) for part in fills} == set(product(LAWS.values(), DTYPES))
    layouts = [layout.memory for layout in (FLAT, LOOP, ODD, *SMALL, *WHOLE, *LIST)]
    assert {(part.memory, part.dtype) for part in fills} == set(product(layouts, DTYPES))
    keys = [key for key, _ in PLACES]
    assert {(part.fill.key, part.fill.distribution) for part in fills} >= set(product(keys, LAWS.values()))
    assert {regime for case in of_twos() for regime, _ in of(case)} == set(Regime) - {Regime.CONSTANT}


@pytest.mark.parametrize("arch", ARCHES)
def test_fills_are_the_reference(arch):
    chosen = cases(arch)
    for case, record in zip(chosen, recorded(arch, chosen), strict=True):
        for got, wanted in zip(executed(case, record), expected(case), strict=True):
            assert_same_bits(got, wanted)


def test_two_fmas_in_one_instruction_of_gfx942_are_the_reference(monkeypatch):
    """No machine executes its assembly here: what is shown is that operands and results are those of each of two elements."""
    # As the CDNA3 ISA has it: of both halves, each rounded once.
    monkeypatch.setitem(OPERATIONS, "v_pk_fma_f32", Operation(fma_of_pairs, "b64", ("b64", "b64", "b64")))
    chosen = of_twos()
    records = recorded(TWOS, chosen)
    assert sum(launch.text.count("v_pk_fma_f32") for _, launches in records for launch in launches) > 100
    for case, record in zip(chosen, records, strict=True):
        for got, wanted in zip(executed(case, record), expected(case), strict=True):
            assert_same_bits(got, wanted)


# What is done to the text of a kernel: a pattern, which match of it, what it becomes, and what shows that it is wrong: an
# error, or (None) other bits.
EDITS = {
    # arithmetic
    "a sum of a product is rounded twice": (
        "odd box", r"fma\.rn\.f32 (\s*\S+), (\S+), (\S+), (\S+);", 60, r"mul.rn.f32 \1, \2, \3; add.rn.f32 \1, \1, \4;", None,
    ),
    "another rounding": ("odd box", r"fma\.rn\.f32", 0, "fma.rz.f32", "not known"),
    "a rounding that the assembler may leave out": ("odd rows", r"add\.rn\.f32", 0, "add.f32", "not known"),
    "subnormal numbers are flushed": ("rows", r"fma\.rn\.f32", 0, "fma.rn.ftz.f32", "not known"),
    "the last bit of a coefficient": ("odd box", r"(0f[0-9A-F]{7})[1-9A-F]", 12, r"\g<1>0", None),
    "a round key": ("rows", r"-1150833019", 0, "-1150833018", None),
    "half a word of a product": ("box", r"shr\.u64(.*), 32;", 0, r"shr.u64\1, 31;", None),
    "the low half for the high one": ("rows", r"mov\.b64(\s+)\{_, (\S+)\}", 0, r"mov.b64\1{\2, _}", None),
    "a sign lost": ("rows", r"cvt\.rn\.f32\.s32", 0, "cvt.rn.f32.u32", None),
    "a comparison without the sign": ("odd box", r"setp\.ge\.s32", 0, "setp.ge.u32", "twice|between|outside"),
    "a span's part before the row": ("odd rows", r"max\.s64(\s+\S+), (\S+), 0;", 0, r"mov.b64\1, \2;", "twice|between|outside"),
    "another word of the key": ("odd rows", r"fill_rows_param_8\]", 0, "fill_rows_param_7]", None),
    "no floor": ("rows", r"max\.f32(\s+\S+), (\S+), \S+;", None, r"mov.b32\1, \2;", None),
    "no upper bound": ("odd box", r"min\.f32(\s+\S+), (\S+), \S+;", None, r"mov.b32\1, \2;", None),
    # order
    "two elements of a vector": ("box", r"\{ (%r\d+), (%r\d+), (%r\d+)", 0, r"{ \2, \1, \3", None),
    "two elements of a pair": ("rows", r"(cvt\.rn\.bf16x2\.f32\s+\S+) (\S+), (\S+);", 0, r"\1 \3, \2;", None),
    # memory
    "a store besides its alignment": ("box", r"(st\.global\.v4\.b32 \[ %rd\d+) \+ 0", 0, r"\1 + 4", "multiple"),
    "a store into the next vector": ("box", r"(st\.global\.v4\.b32 \[ %rd\d+) \+ 0", 0, r"\1 + 16", "twice|between|outside"),
    "a store without its mask": ("odd box", r"@%p\d+ (st\.global)", 0, r"\1", "twice|between|outside"),
    "a mask that holds one element more": ("odd box", r"setp\.lt\.s32", 0, "setp.le.s32", "twice|between|outside"),
    "a mask that holds one element less": ("odd box", r"setp\.ge\.s32", 0, "setp.gt.s32", "never written"),
    "a store that is left out": ("box", r"@%p\d+ st\.global[^;]*;", 0, "", "never written"),
    "a store of a single element twice": ("odd rows", r"(@%p\d+ st\.global[^;]*;)", 0, r"\1 \1", "twice"),
    "another column of a table": ("list", r"(add\.s64\s+%rd\d+, %rd\d+), 16;", 0, r"\1, 24;", None),
    "a table read past its end": ("list", r"(mad\.wide\.u32.*), 4,", 0, r"\1, 64,", "outside"),
    # threads
    "no barrier before a load": ("rows", r"bar\.sync\s+0;", 1, "", "without a barrier"),
    "no barrier before a store": ("rows", r"bar\.sync\s+0;", 2, "", "without a barrier"),
    "a barrier that half of the threads pass over": (
        "rows", r"bar\.sync\s+0;", 0, "setp.lt.u32 %p1, %r1, 64; @%p1 bar.sync 0;", "not all threads",
    ),
    "a register that nothing is written to": ("rows", r"cvt\.rn\.f32\.s32[^;]*;", 0, "", "not written"),
}  # fmt: skip


def test_every_edit_shows():
    chosen = to_edit()
    records = dict(zip(chosen, recorded("sm_90", list(chosen.values())), strict=True))
    wanted = {name: expected(case) for name, case in chosen.items()}
    found = {edit: shown(chosen[of], edited(records[of], *how), wanted[of]) for edit, (of, *how, _) in EDITS.items()}
    unseen = {
        edit: found[edit]
        for edit, (*_, sign) in EDITS.items()
        if not (found[edit] == "other bits" if sign is None else re.search(sign, found[edit]))
    }
    assert unseen == {}


def edited(record: Recorded, pattern: str, which: int | None, replacement: str) -> Recorded:
    """The same launches, of a kernel in which one match of a pattern is replaced, or (None) each."""
    addresses, launches = record
    text = launches[0].text
    if which is None:
        changed = re.sub(pattern, replacement, text)
    else:
        match = list(re.finditer(pattern, text))[which]
        changed = text[: match.start()] + match.expand(replacement) + text[match.end() :]
    assert changed != text
    return addresses, [launch._replace(text=changed if launch.text == text else launch.text) for launch in launches]


def shown(case: Case, record: Recorded, wanted: list[torch.Tensor]) -> str:
    try:
        got = executed(case, record)
    except PtxError as error:
        return str(error)
    same = all(g.nan_to_num(7.0).equal(w.nan_to_num(7.0)) for g, w in zip(got, wanted, strict=True))
    return "the same bits" if same else "other bits"


def test_a_group_of_any_words_is_found():
    for words in EXTREMES:
        key, index = group_of(words)
        counter = [index // 4 & 0xFFFFFFFF, index // 4 >> 32, key.stream & 0xFFFFFFFF, key.stream >> 32]
        got = reference.philox4x32(torch.tensor(counter), torch.tensor([key.seed & 0xFFFFFFFF, key.seed >> 32]))
        assert tuple(got.tolist()) == words
        assert index >= 2**63
    assert {0, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF} == {word for words in EXTREMES for word in words}


def test_no_compiled_function_returns_a_constexpr():
    """Triton 3.6 makes a number of the run of it, which no branch of a kernel is chosen by: a constexpr_function has one."""
    found = []
    for path in sorted((Path(__file__).parents[1] / "kernels").glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and "triton.jit" in map(ast.unparse, function.decorator_list):
                values = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
                returned = [ast.unparse(value) for value in [function.returns, *values] if value]
                found += [f"{path.name}: {function.name}" for text in returned if text.startswith("tl.constexpr")]
    assert found == []
