"""A small language for compiled functions: Python's operators on values that stand for those of the finished function.

>>> from fastinit.backends.llvm_ops import load, store
>>> function = Function("double_it", arguments=1)
>>> (address,) = function.arguments
>>> store(load(address, F32.vector(4)) * 2.0, address)
>>> print(function.text())  # doctest: +NORMALIZE_WHITESPACE
define void @double_it(i64 %a0) {
begin:
  %v1 = inttoptr i64 %a0 to ptr
  %v2 = load <4 x float>, ptr %v1, align 4
  %v3 = fmul <4 x float> %v2, splat (float 0x4000000000000000)
  %v4 = inttoptr i64 %a0 to ptr
  store <4 x float> %v3, ptr %v4, align 4
  ret void
}

Each operator writes one instruction of LLVM's, as text, where the function has got to. None is simplified, moved or fused
here: what a loop is to compute once stands before it. Numbers take the type of the value next to them, and a scalar next
to a vector is repeated.
"""

from struct import pack, unpack
from typing import NamedTuple, Union

Number = Union["Value", int, float]
_FLOATS = {16: "half", 32: "float", 64: "double"}


class Type(NamedTuple):
    """What kind of number, of how many bits, and how many of them."""

    kind: str  # "i" signed, "u" unsigned, "f" float
    bits: int
    lanes: int = 1

    def __str__(self) -> str:
        scalar = _FLOATS[self.bits] if self.kind == "f" else f"i{self.bits}"
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    def vector(self, lanes: int) -> "Type":
        """So many of them."""
        return self._replace(lanes=lanes)

    def constant(self, number: float) -> str:
        """The number as an operand: floats as LLVM writes them, by the bits of the fp64 value."""
        if self.kind == "f":
            if self.bits == 32:
                (number,) = unpack("f", pack("f", number))
            text = f"0x{pack('>d', number).hex().upper()}"
        else:
            text = str(int(number))
        return text if self.lanes == 1 else f"splat ({self.vector(1)} {text})"


BOOL, I32, I64, F32, F64 = Type("u", 1), Type("i", 32), Type("i", 64), Type("f", 32), Type("f", 64)
U16, U32, U64 = Type("u", 16), Type("u", 32), Type("u", 64)


class Function:
    """The text of a function of 64-bit integers that returns nothing; it grows at its end.

    ``fused`` says whether the processor multiplies and adds with one rounding; else ``fma`` is written out.
    """

    def __init__(self, name: str, arguments: int, fused: bool = True) -> None:
        self.name, self.fused = name, fused
        self.lines: list[str] = []
        self.declared: set[str] = set()
        self.arguments = [Value(self, f"%a{k}", I64) for k in range(arguments)]
        self.block = "begin"
        self._names = 0

    def fresh(self, letter: str) -> str:
        """A name that is not yet taken."""
        self._names += 1
        return f"{letter}{self._names}"

    def write(self, type: Type, instruction: str) -> "Value":
        """An instruction, and its value."""
        name = f"%{self.fresh('v')}"
        self.lines.append(f"  {name} = {instruction}")
        return Value(self, name, type)

    def begin(self, block: str) -> None:
        """What is written from here on is in a new block."""
        self.lines.append(f"{block}:")
        self.block = block

    def constant(self, type: Type, number: float) -> "Value":
        """A number."""
        return Value(self, type.constant(number), type)

    def scratch(self, size: int) -> "Value":
        """The address of so many bytes of the stack. To be taken once, before any loop."""
        pointer = self.write(I64, f"alloca i8, i64 {size}, align 64")
        return self.write(I64, f"ptrtoint ptr {pointer.text} to i64")

    def text(self) -> str:
        """The module."""
        arguments = ", ".join(f"i64 {argument.text}" for argument in self.arguments)
        body = "\n".join(self.lines)
        return (
            f"define void @{self.name}({arguments}) {{\nbegin:\n{body}\n  ret void\n}}\n"
            + "\n".join(sorted(self.declared))
            + "\n"
        )


class Value:
    """A value of the finished function: a scalar or a vector."""

    __slots__ = ("function", "text", "type")

    def __init__(self, function: Function, text: str, type: Type) -> None:
        self.function, self.text, self.type = function, text, type

    def like(self, other: Number) -> "Value":
        """The other, a number or a scalar, as a value of this one's type."""
        if not isinstance(other, Value):
            return self.function.constant(self.type, other)
        if other.type.lanes == self.type.lanes:
            return other
        one = self.function.write(self.type, f"insertelement {self.type} poison, {other.type} {other.text}, i64 0")
        zeros = f"<{self.type.lanes} x i32> zeroinitializer"
        return self.function.write(
            other.type.vector(self.type.lanes), f"shufflevector {self.type} {one.text}, {self.type} poison, {zeros}"
        )

    def _binary(self, integers: str, floats: str, other: Number) -> "Value":
        if isinstance(other, Value) and other.type.lanes > self.type.lanes:
            self = other.like(self)
        other = self.like(other)
        assert other.type[1:] == self.type[1:], (self.type, integers, other.type)
        name = floats if self.type.kind == "f" else integers
        return self.function.write(self.type, f"{name} {self.type} {self.text}, {other.text}")

    def __add__(self, other: Number) -> "Value":
        return self._binary("add", "fadd", other)

    def __sub__(self, other: Number) -> "Value":
        return self._binary("sub", "fsub", other)

    def __mul__(self, other: Number) -> "Value":
        return self._binary("mul", "fmul", other)

    def __floordiv__(self, other: Number) -> "Value":
        """Toward zero."""
        return self._binary("sdiv" if self.type.kind == "i" else "udiv", "", other)

    def __mod__(self, other: Number) -> "Value":
        """The rest of ``//``."""
        return self._binary("srem" if self.type.kind == "i" else "urem", "", other)

    def __and__(self, other: Number) -> "Value":
        return self._binary("and", "", other)

    def __or__(self, other: Number) -> "Value":
        return self._binary("or", "", other)

    def __xor__(self, other: Number) -> "Value":
        return self._binary("xor", "", other)

    def __lshift__(self, other: Number) -> "Value":
        return self._binary("shl", "", other)

    def __rshift__(self, other: Number) -> "Value":
        return self._binary("ashr" if self.type.kind == "i" else "lshr", "", other)

    def __neg__(self) -> "Value":
        return self.function.write(self.type, f"fneg {self.type} {self.text}")

    def compare(self, how: str, other: Number) -> "Value":
        """A BOOL for each lane; ``how``: eq, ne, lt, le, gt or ge, as LLVM has it."""
        if self.type.kind == "f":
            name = f"fcmp o{how}"
        else:
            name = f"icmp {how if how in ('eq', 'ne') else self.type.kind.replace('i', 's') + how}"
        other = self.like(other)
        return self.function.write(BOOL.vector(self.type.lanes), f"{name} {self.type} {self.text}, {other.text}")

    def __lt__(self, other: Number) -> "Value":
        return self.compare("lt", other)

    def __le__(self, other: Number) -> "Value":
        return self.compare("le", other)

    def __gt__(self, other: Number) -> "Value":
        return self.compare("gt", other)

    def __ge__(self, other: Number) -> "Value":
        return self.compare("ge", other)
