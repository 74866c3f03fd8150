"""What operators do not say: instructions, memory and control flow, in the language of llvm_ir.py."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastinit.backends.llvm_ir import F32, F64, U64, Function, Number, Type, Value


def fma(x: Value, y: Number, z: Number) -> Value:
    """fp32 ``x * y + z``, rounded once. x has as many lanes as the result."""
    if not x.function.fused:
        return _fma_in_fp64(x, x.like(y), x.like(z))
    name = f"@llvm.fma.{f'v{x.type.lanes}' if x.type.lanes > 1 else ''}f{x.type.bits}"
    x.function.declared.add(f"declare {x.type} {name}({x.type}, {x.type}, {x.type})")
    operands = ", ".join(f"{x.type} {operand.text}" for operand in (x, x.like(y), x.like(z)))
    return x.function.write(x.type, f"call {x.type} {name}({operands})")


def _fma_in_fp64(x: Value, y: Value, z: Value) -> Value:
    """fp64 holds the product exactly; the sum is rounded to odd there, which a second rounding cannot spoil."""
    product, addend = convert(x, F64) * convert(y, F64), convert(z, F64)
    total = product + addend
    back = total - product
    error = (product - (total - back)) + (addend - back)  # Knuth's two-sum: total + error is exact
    inexact = convert(error.compare("ne", 0.0), U64)
    bits = bitcast(total, U64)
    away = (bits ^ bitcast(error, U64)) >> 63  # 1 where the sum was rounded away from zero
    return convert(bitcast((bits - (away & inexact)) | inexact, F64), F32)


def select(condition: Value, x: Value, y: Number) -> Value:
    """x where the condition holds, else y."""
    y = x.like(y)
    if condition.type.lanes > x.type.lanes:
        wide = Value(x.function, "", x.type.vector(condition.type.lanes))
        x, y = wide.like(x), wide.like(y)
    return x.function.write(x.type, f"select {condition.type} {condition.text}, {x.type} {x.text}, {x.type} {y.text}")


def maximum(x: Value, y: Number) -> Value:
    """The greater one, x where they are equal; no NaN is expected."""
    y = x.like(y)
    return select(y > x, y, x)


def minimum(x: Value, y: Number) -> Value:
    """The lesser one, x where they are equal; no NaN is expected."""
    y = x.like(y)
    return select(y < x, y, x)


def convert(x: Value, type: Type) -> Value:
    """The same number in another type, rounded to nearest, or cut off; lanes stay."""
    type = type.vector(x.type.lanes)
    if type.kind == "f":
        names = {"i": "sitofp", "u": "uitofp", "f": "fpext" if type.bits > x.type.bits else "fptrunc"}
        name = names[x.type.kind]
    elif type.bits == x.type.bits:
        return Value(x.function, x.text, type)
    else:
        name = "trunc" if type.bits < x.type.bits else {"i": "sext", "u": "zext"}[x.type.kind]
    return x.function.write(type, f"{name} {x.type} {x.text} to {type}")


def bitcast(x: Value, type: Type) -> Value:
    """The same bits as lanes of another type."""
    type = type.vector(x.type.bits * x.type.lanes // type.bits)
    return x.function.write(type, f"bitcast {x.type} {x.text} to {type}")


def shuffle(x: Value, y: Value, lanes: Sequence[int]) -> Value:
    """A vector of lanes of x, counted from 0, and of y, counted on from there."""
    order = ", ".join(f"i32 {lane}" for lane in lanes)
    return x.function.write(
        x.type.vector(len(lanes)), f"shufflevector {x.type} {x.text}, {y.type} {y.text}, <{len(lanes)} x i32> <{order}>"
    )


def iota(function: Function, type: Type) -> Value:
    """0, 1, 2, ..."""
    lanes = ", ".join(f"{type.vector(1)} {k}" for k in range(type.lanes))
    return Value(function, f"<{lanes}>", type)


def load(address: Value, type: Type) -> Value:
    """What memory holds there; the address is a multiple of one lane's size."""
    pointer = address.function.write(address.type, f"inttoptr i64 {address.text} to ptr")
    return address.function.write(type, f"load {type}, ptr {pointer.text}, align {type.bits // 8}")


def store(value: Value, address: Value) -> None:
    """Write it there."""
    pointer = address.function.write(address.type, f"inttoptr i64 {address.text} to ptr")
    address.function.lines.append(
        f"  store {value.type} {value.text}, ptr {pointer.text}, align {value.type.bits // 8}"
    )


@contextmanager
def loop(begin: Value, end: Number, step: int = 1, carried: list[Value] | None = None) -> Iterator[Value]:
    """``for k in range(begin, end, step)``. Values in ``carried`` may be replaced in the body, for the next turn.

    >>> function = Function("sum_of_two", arguments=2)
    >>> begin, end = function.arguments
    >>> total = [function.constant(I64, 0)]
    >>> with loop(begin, end, carried=total) as k:
    ...     total[0] = total[0] + k
    """
    function, carried = begin.function, [] if carried is None else carried
    before, (head, body, done) = function.block, map(function.fresh, ("head", "body", "done"))
    function.lines.append(f"  br label %{head}")
    function.begin(head)
    first = [begin, *carried]
    at = len(function.lines)
    variables = [function.write(value.type, "phi, of which the next turn's value is not known yet") for value in first]
    turn, carried[:] = variables[0], variables[1:]
    inside = turn < end
    function.lines.append(f"  br i1 {inside.text}, label %{body}, label %{done}")
    function.begin(body)
    yield turn
    following = [turn + step, *carried]
    function.lines.append(f"  br label %{head}")
    for line, (variable, start, value) in enumerate(zip(variables, first, following, strict=True), at):
        incoming = f"[ {start.text}, %{before} ], [ {value.text}, %{function.block} ]"
        function.lines[line] = f"  {variable.text} = phi {variable.type} {incoming}"
    function.begin(done)
    carried[:] = variables[1:]


@contextmanager
def when(condition: Value) -> Iterator[None]:
    """``if`` of a scalar."""
    function = condition.function
    body, done = function.fresh("then"), function.fresh("done")
    function.lines.append(f"  br i1 {condition.text}, label %{body}, label %{done}")
    function.begin(body)
    yield
    function.lines.append(f"  br label %{done}")
    function.begin(done)
