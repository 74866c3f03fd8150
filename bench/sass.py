"""Instructions an element, by class, of every kernel, dtype, regime and architecture: compiled, on any machine.

``tools/sass.py`` compiles and counts; here its opcodes are grouped by the unit that executes them, and become rows. The
counts of a commit are the same everywhere, so counting them again replaces that commit's rows.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from bench import rows

ARCHES = ("sm_80", "sm_90", "sm_100", "gfx942")
# Every regime flat; every layout and dtype at 3 sigma.
CASES = ("*/fp32/flat", "*/bf16/flat", "3sigma/fp32/*", "3sigma/bf16/*", "3sigma/fp16/flat", "3sigma/fp64/flat")
CLASSES = ("fma", "alu", "imad", "conversion", "uniform", "memory", "control")
# First match counts; what matches none, like LOP3, IADD3, SHF, FMNMX, ISETP, MOV and SEL, is the ALU's.
_NVIDIA = (
    ("imad", r"IMAD|IMUL|IDP"),
    ("fma", r"FFMA|FMUL|FADD|HFMA2|HMUL2|HADD2|DFMA|DMUL|DADD"),
    ("conversion", r"I2F|F2F|F2I|I2I|I2FP|F2FP|FRND|MUFU"),
    ("control", r"BRA|BRX|BSSY|BSYNC|BREAK|EXIT|CALL|RET|BAR|WARPSYNC|NANOSLEEP|DEPBAR|NOP|YIELD|ACQBULK|PREEXIT|CCTL"),
    ("memory", r"LD|ST|ATOM|RED|MEMBAR|S2R|CS2R"),
    ("uniform", r"U|R2UR|S2UR"),
)
_AMD = (
    ("imad", r"v_(mad|mul_lo|mul_hi)_?(u|i)|v_mad_u64"),
    ("conversion", r"v_cvt"),
    ("fma", r"v_(pk_)?(fma|fmac|fmaak|fmamk|mul|add|sub)_?(legacy_)?f|v_(fmac|fmaak|fmamk)"),
    ("memory", r"(global|flat|buffer|scratch|ds)_|s_(load|store|buffer)"),
    ("control", r"s_(branch|cbranch|endpgm|waitcnt|barrier|nop|setpc|swappc|getpc|setprio|sleep)"),
    ("uniform", r"s_"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", nargs="+", default=list(ARCHES))
    parser.add_argument("--json", action="store_true", help="print one JSON object a row, and append none")


def run(arguments: argparse.Namespace) -> int:
    rows.check("sass")
    shared = rows.environment(None)  # the commit that is counted, whatever is edited meanwhile
    found = counted(arguments.arch)
    for row in found:
        if arguments.json:
            print(json.dumps(row))
        else:
            classes = ", ".join(f"{name} {row[name]}" for name in CLASSES)
            print(f"{row['arch']:8}{row['law']:9}{row['dtype']:6}{row['layout']:11}{row['per_element']:>7}: {classes}")
    if not arguments.json:
        rows.drop("sass", shared["commit"])
        rows.append("sass", [row | shared for row in found])
    return 0


def counted(arches: list[str]) -> list[rows.Row]:
    """A row for each kernel: processes of their own compile them, as many at once as there are cores."""
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(os.cpu_count()) as pool:
        return [row for found in pool.map(lambda arch: _compiled(arch, cache), arches) for row in found]


def _compiled(arch: str, cache: str) -> list[rows.Row]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(rows.ROOT / "tools" / "sass.py"), "--json", *CASES, "--arch", arch]
    done = subprocess.run(
        command, env=environment | {"TRITON_CACHE_DIR": cache}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [row_of(json.loads(line)) for line in done.stdout.splitlines()]


def row_of(count: dict) -> rows.Row:
    """The row of what tools/sass.py prints for one kernel."""
    by_class = classes_of(count["classes"], count["arch"])
    row = {name: str(count[name]) for name in ("arch", "law", "dtype", "layout")}
    row["per_element"] = f"{count['per_element']:.3f}"
    row |= {name: f"{by_class[name] / count['elements']:.3f}" for name in CLASSES}
    return row | {name: str(count[name]) for name in ("spills", "shared_bytes", "widest_store")}


def classes_of(opcodes: dict[str, int], arch: str) -> Counter[str]:
    """Opcodes, by the unit that executes them."""
    found: Counter[str] = Counter()
    for opcode, number in opcodes.items():
        found[class_of(opcode, arch)] += number
    return found


def class_of(opcode: str, arch: str) -> str:
    """The class of one opcode, without its modifiers.

    >>> [class_of(opcode, "sm_90") for opcode in ("FFMA", "LOP3", "IMAD", "F2FP", "UIADD3", "STG", "BRA")]
    ['fma', 'alu', 'imad', 'conversion', 'uniform', 'memory', 'control']
    """
    patterns = _AMD if arch.startswith("gfx") else _NVIDIA
    return next((name for name, pattern in patterns if re.match(pattern, opcode)), "alu")
