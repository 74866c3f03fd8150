"""Which tensors share memory: the answer of a table of all bytes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastinit.shard.memory import Strided, shared


def found(tensors: list[Tensor], written: list[bool] | None = None) -> tuple[int, int] | None:
    layouts = [
        Strided(tuple(t.shape), tuple(s * t.element_size() for s in t.stride()), t.element_size()) for t in tensors
    ]
    addresses = np.array([t.data_ptr() for t in tensors], np.int64)
    marks = None if written is None else np.array(written, np.bool_)
    return shared(addresses, layouts, np.arange(len(tensors)), marks)


def touched(tensor: Tensor, base: Tensor) -> set[int]:
    """The bytes of a view, counted from its base's."""
    places = torch.arange(base.untyped_storage().nbytes() // base.element_size())
    own = places.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).flatten().tolist()
    return {
        byte
        for element in own
        for byte in range(element * tensor.element_size(), (element + 1) * tensor.element_size())
    }


@st.composite
def views(draw: st.DrawFn, base: Tensor) -> Tensor:
    """A slice with steps, of some dimensions, perhaps transposed."""
    view = base
    for dim, size in enumerate(base.shape):
        begin = draw(st.integers(0, size - 1))
        view = view[(slice(None),) * dim + (slice(begin, draw(st.integers(begin, size)), draw(st.integers(1, 3))),)]
    return view.permute(draw(st.permutations(range(base.ndim))))


@settings(max_examples=300)
@given(data=st.data())
def test_it_is_what_a_table_of_bytes_says(data: st.DataObject) -> None:
    base = torch.empty(data.draw(st.sampled_from([(40,), (6, 8), (3, 4, 5)])))
    tensors = data.draw(st.lists(views(base), max_size=24))
    bytes_of = [touched(tensor, base) for tensor in tensors]
    pair = found(tensors)
    if pair is None:
        assert sum(map(len, bytes_of)) == len(set().union(*bytes_of))
    else:
        assert pair[0] < pair[1]
        assert bytes_of[pair[0]] & bytes_of[pair[1]]


@given(data=st.data())
def test_two_that_nobody_writes_may_share(data: st.DataObject) -> None:
    base = torch.empty(data.draw(st.sampled_from([(40,), (6, 8)])))
    tensors = data.draw(st.lists(views(base), max_size=24))
    written = data.draw(st.lists(st.booleans(), min_size=len(tensors), max_size=len(tensors)))
    bytes_of = [touched(tensor, base) for tensor in tensors]
    pair = found(tensors, written)
    if pair is None:
        clashes = (bytes_of[i] & bytes_of[k] for k in range(len(tensors)) for i in range(k) if written[i] or written[k])
        assert not any(clashes)
    else:
        assert bytes_of[pair[0]] & bytes_of[pair[1]]
        assert written[pair[0]] or written[pair[1]]


matrix = torch.empty(60, 80)
DISJOINT: dict[str, Callable[[], list[Tensor]]] = {
    "rows": lambda: list(matrix),
    "columns": lambda: list(matrix.T),
    "every other column": lambda: [matrix[:, ::2], matrix[:, 1::2]],
    "every 20th element": lambda: [matrix.view(-1)[k::20] for k in range(20)],
    "column blocks": lambda: list(matrix.split(4, dim=1)),
    "tiles": lambda: [tile for rows in matrix.split(3) for tile in rows.split(4, dim=1)],
    "tiles of two sizes": lambda: [
        *(t for r in matrix[:30].split(3) for t in r.split(4, 1)),
        *matrix[30:].split(16, 1),
    ],
    "columns of columns": lambda: [t[:, :, k] for t in matrix.view(60, 8, 10).split(2, dim=1) for k in range(10)],
}


@pytest.mark.parametrize("name", DISJOINT)
def test_many_views_that_interleave(name: str) -> None:
    """And one more, which takes an element of two of them."""
    tensors = DISJOINT[name]()
    assert found(tensors) is None
    for taken in (tensors[0], tensors[-1]):
        intruder = taken[..., -1:] if taken.ndim else taken
        pair = found([*tensors, intruder])
        assert pair is not None
        assert pair[1] == len(tensors)
        assert tensors[pair[0]] is taken


def test_a_run_past_the_end_of_a_line_comes_back_at_its_beginning() -> None:
    columns = [matrix[:5, 40 + k] for k in range(16)]
    wraps = matrix.as_strided((4, 61), (80, 1), 60)  # of each line the last 20, and of the next one the first 41
    assert found([*columns, wraps]) == (0, 16)
    assert found([*columns, wraps[:, :-1]]) is None


def test_ten_thousand_columns_are_not_compared_two_by_two() -> None:
    wide = torch.empty(2, 10_000)
    calls = 0
    original = np.may_share_memory

    def counted(*args: object, **kwargs: object) -> bool:
        nonlocal calls
        calls += 1
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "may_share_memory", counted)
        assert found(list(wide.T)) is None
    assert calls == 0


def test_no_memory_at_all() -> None:
    assert found([]) is None
    assert found([matrix[:0], matrix[:0], torch.empty(0)]) is None
    scalar = torch.empty(())
    assert found([scalar, torch.empty(())]) is None
    assert found([matrix[:0], scalar, scalar]) == (1, 2)
