"""Compile the kernels for a GPU, on a machine without one, and count what the compiled code does.

    python tools/sass.py                                       # the main fills on sm_90
    python tools/sass.py '3sigma/*/table' --arch sm_80 gfx942  # others, as law/dtype/layout, for other targets
    python tools/sass.py --dump DIR                            # the assembly of each into DIR

Counts are of the path that a full block takes, for the elements of one thread, so they are instructions that a warp
issues for each element. They are exact, and the same on every machine.
"""

import argparse
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import accumulate, pairwise, product
from pathlib import Path

import null_driver
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime import driver

from fastinit.backends import triton as backend
from fastinit.backends.triton_table import UNITS, clamp_of, is_light, vector_of
from fastinit.kernels.linear import fill_rows
from fastinit.kernels.table import fill_table
from fastinit.law.distributions import Distribution, Normal, TruncatedNormal, Uniform
from fastinit.law.lowering import lower
from fastinit.shard.geometry import LocalShard

LAWS: dict[str, Distribution] = {
    "3sigma": TruncatedNormal(0.0, 0.02, -0.06, 0.06),
    "default": TruncatedNormal(),
    "wide": TruncatedNormal(0.0, 0.02, -0.08, 0.08),
    "normal": Normal(0.0, 0.02),
    "half": TruncatedNormal(0.0, 1.0, 0.0, float("inf")),
    "lopsided": TruncatedNormal(0.0, 1.0, -1.0, 5.0),
    "far": TruncatedNormal(0.0, 1.0, 6.0, 8.0),
    "narrow": TruncatedNormal(0.0, 1.0, 0.5, 0.6),
    "uniform": Uniform(-0.1, 0.1),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
_POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float64: "*fp64"}
LAYOUTS = ("flat", "odd", "rows", "box", "transposed", "table")
MAIN = tuple(f"{law}/{dtype}/flat" for law in ("3sigma", "wide", "normal") for dtype in ("fp32", "bf16"))

Case = tuple[str, str, str]  # law, dtype, layout


@dataclass
class Count:
    """What one compiled kernel does."""

    law: str
    dtype: str
    layout: str
    arch: str
    elements: int  # a thread, of a full block
    instructions: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    opcodes: Counter[str] = field(default_factory=Counter)  # of the whole text, with what they are qualified by
    ptx_opcodes: Counter[str] = field(default_factory=Counter)  # of the PTX that the text was made from
    float_modes: dict[str, str] = field(default_factory=dict)  # CDNA's, which no instruction says
    shared_bytes: int = 0
    spills: int = 0
    widest_store: int = 0  # bits
    compile_s: float = 0.0
    code: str = ""

    @property
    def per_element(self) -> float:
        return self.instructions / self.elements


def compiled(law: str, dtype: str, layout: str, arch: str):
    """The kernel as the launcher would compile it, the elements a thread fills in a block, and the blocks of a program."""
    target = _target(arch)
    if layout == "table":
        return _compiled_table(law, dtype, target)
    tensor, shard = _example(layout, DTYPES[dtype])
    (launch,) = backend.plan(tuple(tensor.shape), tensor.stride(), tensor.dtype, shard, LAWS[law])
    kernel, constexprs = launch.kernel, dict(launch.options)
    options = {name: constexprs.pop(name) for name in ("num_warps", "enable_fp_fusion")}
    arguments = (tensor, *launch.place, 1, 2, 3, 4, *launch.law)
    if kernel is fill_rows:
        elements = constexprs["UNITS"] * constexprs["VECTOR"]
        turns = 1 << arguments[kernel.arg_names.index("log2_blocks")]
    else:
        elements, turns = constexprs["ROWS"] * constexprs["GROUPS"] * 4, 1
    signature: dict[str, object] = {}
    for parameter, value in zip(kernel.params, arguments, strict=False):
        signature[parameter.name] = parameter.annotation_type or _type_of(value)
    signature |= dict.fromkeys(constexprs, "constexpr")
    source = ASTSource(kernel, signature, constexprs=constexprs, attrs={(0,): [["tt.divisibility", 16]]})
    compiled_kernel = triton.compile(source, target=target, options=options)
    return compiled_kernel, elements // (options["num_warps"] * target.warp_size), turns


def _type_of(value: object) -> object:
    """Triton's name for the type of an argument; a tuple of names for a tuple."""
    if isinstance(value, tuple):
        return tuple(_type_of(item) for item in value)
    return _POINTERS[value.dtype] if isinstance(value, torch.Tensor) else "fp32"


def _compiled_table(law: str, dtype: str, target: GPUTarget):
    """The same for the kernel that fills many tensors, of full blocks, one a program."""
    numbers = lower(LAWS[law])
    name = str(DTYPES[dtype]).removeprefix("torch.")
    units = UNITS[0] if is_light(numbers, name) else UNITS[0] // 2
    vector = vector_of(str(DTYPES[dtype]).removeprefix("torch."))
    options = backend._law_options(LAWS[law], clamp_of(LAWS[law], name)[0])
    constexprs = {name: value for name, value in options.items() if name.isupper()}
    options = {name: value for name, value in options.items() if not name.isupper()}
    constexprs |= dict(DTYPE=getattr(tl, str(DTYPES[dtype]).removeprefix("torch.")), VECTOR=vector, UNITS=units)
    constexprs |= dict(COEFFICIENTS=len(numbers.coefficients), LOOP=False)
    signature: dict[str, object] = {"rows_ptr": "*i64", "laws_ptr": "*fp32", "row_of_program_ptr": "*i32"}
    attrs = {(k,): [["tt.divisibility", 16]] for k in range(len(signature))}
    signature |= dict.fromkeys(constexprs, "constexpr")
    source = ASTSource(fill_table, signature, constexprs=constexprs, attrs=attrs)
    compiled_kernel = triton.compile(source, target=target, options=options)
    return compiled_kernel, units * vector // (options["num_warps"] * target.warp_size), 1


def cases_of(patterns: Iterable[str]) -> list[Case]:
    """The cases that match any of the patterns.

    >>> cases_of(["far/*/flat", "far/bf16/table"])[-3:]
    [('far', 'fp16', 'flat'), ('far', 'fp64', 'flat'), ('far', 'bf16', 'table')]
    """
    found: dict[Case, None] = {}
    for pattern in patterns:
        matching = [case for case in product(LAWS, DTYPES, LAYOUTS) if fnmatchcase("/".join(case), pattern)]
        if not matching:
            raise SystemExit(f"{pattern}: expected law/dtype/layout of {list(LAWS)}, {list(DTYPES)}, {list(LAYOUTS)}")
        found |= dict.fromkeys(matching)
    return list(found)


def count(cases: Sequence[Case], arch: str) -> list[Count]:
    """Compile and count."""
    driver.set_active(null_driver.Driver(_target(arch)))  # kernels ask it what to be compiled for
    results, kernels, turns_of = [], [], []
    for case in cases:
        begin = time.perf_counter()
        kernel, elements, turns = compiled(*case, arch)
        if arch.startswith("gfx"):
            turns = 1  # the whole text is counted, which holds the loop once
        result = Count(*case, arch, elements * turns, shared_bytes=kernel.metadata.shared)
        result.compile_s = time.perf_counter() - begin
        results.append(result)
        kernels.append(kernel)
        turns_of.append(turns)
    if arch.startswith("gfx"):
        codes = [kernel.asm["amdgcn"] for kernel in kernels]
    else:
        codes = _sass([kernel.asm["cubin"] for kernel in kernels], arch)
    for result, kernel, code, turns in zip(results, kernels, codes, turns_of, strict=True):
        result.code = code
        if arch.startswith("gfx"):
            names = [line.split()[0] for line in code.splitlines() if re.match(r"^\t[vsdgb]\w+_", line)]
            listed = re.findall(r"^\t([vsdgb]\w+_\S+)(.*)", code, re.M)
            result.opcodes = Counter(name + "".join(re.findall(r" (?:clamp|mul:|div:)", rest)) for name, rest in listed)
            result.float_modes = dict(re.findall(r"\.amdhsa_(float_\w+|ieee_mode) (\d+)", code))
            result.spills = int(re.search(r"\.vgpr_spill_count:\s*(\d+)", code).group(1))
            result.widest_store = max((32 * _dwords(name) for name in names if "_store_" in name), default=0)
        else:
            names = [instruction.split()[0] for instruction in _full_block_path(code, turns)]
            result.opcodes = Counter(re.findall(r"\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]+)", code))
            in_ptx = re.findall(r"^\s*(?:@!?%p\d+\s+)?([a-z][\w.:]*)[\s;]", kernel.asm["ptx"], re.M)
            result.ptx_opcodes = Counter(in_ptx)
            result.spills = sum(name.startswith(("LDL", "STL")) for name in names)
            result.widest_store = max((_width(name) for name in names if name.startswith("STG")), default=0)
        result.instructions = len(names)
        result.classes = Counter(name.split(".")[0] for name in names)
    return results


def _dwords(name: str) -> int:
    match = re.search(r"dwordx(\d)", name)
    return int(match.group(1)) if match else 1


def _width(name: str) -> int:
    match = re.search(r"\.(64|128)", name)
    return int(match.group(1)) if match else 32


def _target(arch: str) -> GPUTarget:
    return (
        GPUTarget("hip", arch, 64) if arch.startswith("gfx") else GPUTarget("cuda", int(arch.removeprefix("sm_")), 32)
    )


def _example(layout: str, dtype: torch.dtype) -> tuple[torch.Tensor, LocalShard]:
    """A tensor of the layout (without memory), and its shard."""
    meta = torch.device("meta")
    if layout == "flat":
        return torch.empty(2**30, dtype=dtype, device=meta), LocalShard.whole((2**30,))
    if layout == "odd":
        return torch.empty(2**30 + 1, dtype=dtype, device=meta), LocalShard((2**31,), (3,))
    if layout == "rows":
        return torch.empty(16384, 4096, dtype=dtype, device=meta), LocalShard((16384, 16384), (0, 4096))
    if layout == "box":
        return torch.empty(8, 512, 2048, dtype=dtype, device=meta)[:, :, 1024:], LocalShard(
            (8, 1024, 4096), (0, 512, 0)
        )
    return torch.empty(8, 512, 1024, dtype=dtype, device=meta).mT, LocalShard.whole((8, 1024, 512))


def _sass(cubins: Sequence[bytes], arch: str) -> list[str]:
    """The listing of each kernel, at addresses as if they followed each other: of all at once, as the disassembler takes
    much longer to start than to list one."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    command = str(tool) if tool.exists() else shutil.which("nvdisasm")
    capability = int(arch.removeprefix("sm_"))
    texts = [_text(cubin) for cubin in cubins]
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(b"".join(texts))
        file.flush()
        options = ["--binary", f"SM{capability}{'a' if capability >= 90 else ''}"]
        listing = subprocess.run([command, *options, file.name], check=True, capture_output=True, text=True).stdout
    lines = [(int(match[1], 16), match[0]) for match in re.finditer(r"^\s*/\*([0-9a-f]{4,})\*/.*$", listing, re.M)]
    return [
        "\n".join(line for address, line in lines if begin <= address < end)
        for begin, end in pairwise(accumulate(map(len, texts), initial=0))
    ]


def _text(cubin: bytes) -> bytes:
    """The instructions: the one section of the ELF file whose flags say that it is executable."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, number = struct.unpack_from("<HH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + k * size) for k in range(number)]
    [text] = [cubin[offset : offset + length] for _, _, flags, _, offset, length in sections if flags & 4]
    return text


def _full_block_path(sass: str, turns: int) -> list[str]:
    """The instructions from the entry to the exit that a thread runs on full blocks, without predicates.

    Of the two sides of the branch at the store, a full block takes the one with the wider stores, or else with more of
    them, as none is passed over, or else the shorter one. A backward branch closes the loop over a program's blocks,
    which is run ``turns`` times.
    """
    code: list[tuple[int, str]] = []
    for line in sass.splitlines():
        match = re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", line)
        if match:
            code.append((int(match.group(1), 16), match.group(2).strip()))
    position = {address: k for k, (address, _) in enumerate(code)}

    def walk(k: int, path: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
        while True:
            predicate, name = re.match(r"(@!?U?P\w+ )?(.*)", code[k][1]).groups()
            path = [*path, (k, name)]
            if name.startswith("EXIT") and not predicate:
                return [path]
            target = re.search(r"0x([0-9a-f]+)$", name) if name.startswith("BRA") else None
            if not target:
                k += 1
                continue
            goal = position[int(target.group(1), 16)]
            conditional = predicate or re.match(r"BRA\S* !?U?P", name)
            if goal > k:
                return walk(goal, path) + (walk(k + 1, path) if conditional else [])
            begin = next(at for at, (position_in_code, _) in enumerate(path) if position_in_code == goal)
            path += path[begin:] * (turns - 1)
            if not conditional:  # the loop is left by a predicated EXIT in its midst
                return [path]
            k += 1

    def rank(path: list[tuple[int, str]]) -> tuple[int, int, int]:
        stores = [_width(name) for _, name in path if name.startswith("STG")]
        return (-min(stores), -len(stores), len(path))

    paths = [path for path in walk(0, []) if any(name.startswith("STG") for _, name in path)]
    return [name for _, name in min(paths, key=rank) if name != "NOP"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=MAIN, metavar="law/dtype/layout", help="* stands for anything")
    parser.add_argument("--arch", nargs="+", default=["sm_90"])
    parser.add_argument("--classes", action="store_true", help="count each opcode")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--dump", type=Path, help="folder for the assembly")
    arguments = parser.parse_args()
    cases = cases_of(arguments.cases)
    for arch in arguments.arch:
        for result in count(cases, arch):
            if arguments.json:
                row = vars(result) | dict(per_element=result.per_element)
                print(json.dumps({name: value for name, value in row.items() if name != "code"}))
                continue
            print(
                f"{arch:8}{result.law:9}{result.dtype:6}{result.layout:11}{result.per_element:7.2f} an element "
                f"({result.instructions} for {result.elements}), spills {result.spills}, "
                f"shared {result.shared_bytes} B, widest store {result.widest_store} bits"
            )
            if arguments.classes:
                print("   ", ", ".join(f"{name} {n}" for name, n in result.classes.most_common()))
            if arguments.dump:
                arguments.dump.mkdir(parents=True, exist_ok=True)
                (arguments.dump / f"{arch}-{result.law}-{result.dtype}-{result.layout}.s").write_text(result.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
