"""A constant that a dtype has not is an error before anything is written, as torch's own fill of it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fastinit

LARGEST = {torch.float16: 65504.0, torch.bfloat16: 3.3895313892515355e38, torch.float32: 3.4028234663852886e38}


class Model(nn.Module):
    """A parameter before, and the one that is asked about."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((2,), 7.0, dtype=dtype))
        self.w = nn.Parameter(torch.full((4, 6), 7.0, dtype=dtype))


def recorded(write: Callable[[Tensor], object]) -> fastinit.Recipe:
    def init(model: Model) -> None:
        with torch.no_grad():
            model.first.zero_()
            write(model.w)

    return fastinit.record(lambda: Model(torch.float64), init)


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("part", [False, True], ids=["whole", "a row"])
def test_what_a_dtype_has_not(dtype: torch.dtype, part: bool) -> None:
    largest = LARGEST[dtype]
    for value in (largest, -largest, torch.inf):
        model = Model(dtype)
        fastinit.init_model_(model, recorded(lambda w, value=value: w.fill_(value)))
        assert torch.equal(model.w.detach(), torch.full((4, 6), value, dtype=dtype))
    for value in (largest * 1.0001, -largest * 1.0001):
        model = Model(dtype)

        def write(w: Tensor, value: float = value) -> None:
            w.zero_()[1 if part else slice(None)].fill_(value)

        with pytest.raises(RuntimeError, match="without overflow"):
            model.w.data.fill_(value)
        message = rf"w: constant: expected a number within the range of {str(dtype)[6:]}, got {value:g}"
        for function in (fastinit.init_model_, fastinit.verify_model_):
            with pytest.raises(ValueError, match=message.replace("+", r"\+")):
                function(model, recorded(write))
        assert bool((model.first == 7).all())
        assert bool((model.w == 7).all())
