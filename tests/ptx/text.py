"""A kernel's PTX as a list of instructions.

What is read is the part of the language that Triton writes for one kernel: the chapters "Syntax", "State Spaces, Types, and
Variables" and "Instruction Operands" of NVIDIA's PTX ISA. What does not match is an error.
"""

import re
from typing import NamedTuple


class PtxError(Exception):
    """What a GPU would do otherwise than intended, or what is not known here."""


class Address(NamedTuple):
    base: str  # a register or a parameter
    offset: int  # bytes


# A name of a register, label, parameter or array; the bits of a number; several registers; a place in memory.
Operand = str | int | tuple[str, ...] | Address


class Instruction(NamedTuple):
    text: str
    opcode: str
    operands: tuple[Operand, ...]
    guard: str | None  # the predicate without which a thread passes over it
    negated: bool  # or with which


class Kernel(NamedTuple):
    parameters: dict[str, str]  # name -> type
    threads: int  # of a block
    registers: dict[str, str]  # prefix -> type
    labels: dict[str, int]  # -> position of the instruction that follows
    instructions: list[Instruction]


_ENTRY = re.compile(
    r"\.visible \.entry \w+\((?P<parameters>.*?)\)\s*\.reqntid (?P<threads>\d+)\n\{\n(?P<body>.*?)\n\}", re.S
)
_PARAMETER = re.compile(r"\.param \.(?P<type>\w+)(?: \.ptr \.global \.align \d+)? (?P<name>\w+)")
_STATEMENT = re.compile(
    r"""\s*(?:
        (?P<label>\$\w+):
      | (?P<brace>[{}])
      | \.reg\ \.(?P<type>\w+)\s+(?P<prefix>%[a-z]+)<(?P<count>\d+)>;
      | (?:@(?P<negated>!?)(?P<guard>%p\d+)\s+)?(?P<opcode>[a-z][\w.:]*)(?:\s+(?P<operands>[^;]*?))?\s*;
    )""",
    re.X,
)
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+")
_ADDRESS = re.compile(r"\[\s*(?P<base>%?\w+)\s*(?:\+\s*(?P<offset>-?\d+))?\s*\]")
_NUMBER = re.compile(r"-?\d+|0x[0-9a-fA-F]+")


def parse(text: str) -> Kernel:
    """The one kernel of a module."""
    text = re.sub(r"//.*|^\s*\.loc\s.*", "", text, flags=re.M)  # comments, and lines of the source
    if (entry := _ENTRY.search(text)) is None:
        raise PtxError("no kernel")
    body, position = entry["body"].rstrip(), 0
    scope: list[str] | None = None  # the registers of a block within the kernel, which its end forgets
    parameters = {match["name"]: match["type"] for match in _PARAMETER.finditer(entry["parameters"])}
    kernel = Kernel(parameters, int(entry["threads"]), {}, {}, [])
    while position < len(body):
        if (statement := _STATEMENT.match(body, position)) is None:
            raise PtxError(f"not read: {body[position : position + 80]!r}")
        position = statement.end()
        if statement["label"]:
            kernel.labels[statement["label"]] = len(kernel.instructions)
        elif statement["brace"]:
            if (statement["brace"] == "{") != (scope is None):
                raise PtxError("a block within a block, or the end of none")
            if scope is not None:
                kernel.instructions.append(Instruction("}", "}", tuple(scope), None, False))
            scope = [] if scope is None else None
        elif statement["prefix"]:
            kernel.registers[statement["prefix"]] = statement["type"]
            if scope is not None:
                scope += [f"{statement['prefix']}{k}" for k in range(int(statement["count"]))]
        else:
            operands = tuple(map(_operand, _OPERAND.findall(statement["operands"] or "")))
            guard, negated = statement["guard"], bool(statement["negated"])
            kernel.instructions.append(Instruction(statement[0].strip(), statement["opcode"], operands, guard, negated))
    return kernel


def _operand(text: str) -> Operand:
    if text[0] == "{":
        return tuple(text[1:-1].replace(",", " ").split())
    if text[0] == "[":
        if (address := _ADDRESS.fullmatch(text)) is None:
            raise PtxError(f"not an address: {text}")
        return Address(address["base"], int(address["offset"] or 0))
    if _NUMBER.fullmatch(text):
        return int(text, 0)
    if re.fullmatch("0f[0-9A-Fa-f]{8}|0d[0-9A-Fa-f]{16}", text):  # the bits of a float
        return int(text[2:], 16)
    return text
