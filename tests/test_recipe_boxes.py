"""Boxes of strided views, against a dense tensor that is painted."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from fastinit.recipe.boxes import Box, View, boxes_of, merged, visible
from fastinit.shard.geometry import row_major_strides

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(o, o + n) for o, n in zip(*box, strict=True))


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    """A box of a tensor."""
    offset = tuple(draw(st.integers(0, n - 1)) for n in shape)
    return Box(offset, tuple(draw(st.integers(1, n - o)) for n, o in zip(shape, offset, strict=True)))


@st.composite
def paintings(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[Box, int]]]:
    """A shape, and boxes of it in three colours."""
    shape = draw(shapes)
    return shape, draw(st.lists(st.tuples(boxes(shape), st.integers(1, 3)), max_size=8))


@st.composite
def views(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """A tensor with its storage's indices, and a view of it by slices, steps, transpositions and reshapes."""
    shape = draw(shapes)
    strides = row_major_strides(shape)
    order = draw(st.permutations(range(len(shape))))
    count = int(torch.tensor(shape).prod())
    whole = torch.arange(count).as_strided(shape, strides).permute(order)
    view = whole
    for _ in range(draw(st.integers(0, 3))):
        d = draw(st.integers(0, view.dim() - 1))
        n = view.shape[d]
        first = draw(st.integers(0, n - 1))
        view = view.movedim(d, 0)[first : draw(st.integers(first + 1, n)) : draw(st.integers(1, 2))]
        if draw(st.booleans()) and view.is_contiguous():
            view = view.view(-1)
    return whole, view


def _view(tensor: torch.Tensor) -> View:
    return View(tensor.storage_offset(), tuple(tensor.shape), tensor.stride())


@given(paintings())
def test_what_is_visible_is_what_was_painted_last(painting: tuple[tuple[int, ...], list[tuple[Box, int]]]) -> None:
    shape, painted = painting
    expected, found, times = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
    for box, colour in painted:
        expected[_slices(box)] = colour
    seen = visible(painted)
    for box, colour in seen:
        found[_slices(box)] = colour
        times[_slices(box)] += 1
    assert torch.equal(found, expected)
    assert torch.equal(times, (expected > 0).float())  # each element once
    assert merged(seen) == seen or len(merged(seen)) < len(seen)


@given(paintings())
def test_two_boxes_are_their_meet_and_what_is_without(painting: tuple[tuple[int, ...], list[tuple[Box, int]]]) -> None:
    shape, painted = painting
    for one, _ in painted:
        for two, _ in painted:
            times = torch.zeros(shape)
            for part in (*one.without(two), *filter(None, [one.meet(two)])):
                times[_slices(part)] += 1
            expected = torch.zeros(shape)
            expected[_slices(one)] = 1
            assert torch.equal(times, expected)


@given(views())
def test_the_boxes_of_a_view_are_its_elements(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    whole, view = pair
    found = boxes_of(_view(view), _view(whole))
    assert found is not None
    elements = torch.cat([whole[_slices(box)].flatten() for box in found])
    assert elements.sort().values.tolist() == view.flatten().sort().values.tolist()


def test_a_view_past_the_tensor_is_no_box() -> None:
    assert boxes_of(View(4, (8,), (1,)), View.dense((8,))) is None
    assert boxes_of(View(0, (8,), (1,)), View(2, (4,), (1,))) is None
