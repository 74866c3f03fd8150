"""constant_, ones_, zeros_, eye_, dirac_: torch's values, of every dtype that it fills, and on shards."""

from itertools import product

import pytest
import torch

from fastinit import LocalShard, init

FLOATS = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
OTHERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64, torch.complex128]


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS], ids=str)
def test_every_dtype_that_torch_fills(dtype: torch.dtype) -> None:
    for fill, value in (("constant_", 1), ("constant_", 2.75), ("ones_", None), ("zeros_", None), ("eye_", None)):
        arguments = () if value is None else (value,)
        try:
            expected = getattr(torch.nn.init, fill)(torch.empty(3, 4, dtype=dtype), *arguments)
        except NotImplementedError:  # torch has no eye of 8-bit floats
            assert (fill, dtype.itemsize) == ("eye_", 1)
            continue
        got = getattr(init, fill)(torch.empty(3, 4, dtype=dtype), *arguments)
        assert got.dtype is dtype
        assert got.tolist() == expected.tolist()


@pytest.mark.parametrize("value", [0.1, -3, True, float("inf"), float("nan"), torch.tensor(0.1)], ids=str)
def test_numbers_of_all_kinds(value: float) -> None:
    assert str(init.constant_(torch.empty(3), value)) == str(torch.nn.init.constant_(torch.empty(3), value))


def test_views_that_torch_changes_when_it_reads_them() -> None:
    number = torch.complex(torch.ones(3), torch.ones(3))
    init.constant_(number.conj().imag, 5.0)
    init.constant_(number.conj(), 2 + 5j)
    assert number.tolist() == [2 - 5j] * 3


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (1, 1), (0, 3)])
def test_eye_is_torchs(shape: tuple[int, int]) -> None:
    assert init.eye_(torch.full(shape, 7.0)).tolist() == torch.nn.init.eye_(torch.empty(shape)).tolist()


KERNELS = [(3,), (4,), (1,), (3, 5), (2, 3, 4)]


@pytest.mark.parametrize(("channels", "kernel"), list(product([(6, 2), (6, 9), (2, 2)], KERNELS)), ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_is_torchs(channels: tuple[int, int], kernel: tuple[int, ...], groups: int) -> None:
    shape = (*channels, *kernel)
    assert (
        init.dirac_(torch.full(shape, 7.0), groups).tolist()
        == torch.nn.init.dirac_(torch.empty(shape), groups).tolist()
    )


@pytest.mark.parametrize("groups", [1, 3])
def test_every_box_of_dirac_is_a_slice_of_it(groups: int) -> None:
    """Of a small one: all boxes, as most of those that are drawn at random have no one in them."""
    shape = (6, 2, 3, 2)
    whole = init.dirac_(torch.full(shape, 7.0), groups)
    for box in product(*([slice(a, b) for a in range(n) for b in range(a + 1, n + 1)] for n in shape)):
        expected = whole[box]
        shard = LocalShard(shape, tuple(part.start for part in box))
        assert torch.equal(init.dirac_(torch.full(expected.shape, 7.0), groups, shard=shard), expected)
