"""calculate_gain: by how much a nonlinearity makes the signal smaller, as torch.nn.init counts it."""

from math import sqrt

_LINEAR = ("linear", *(f"conv{kind}{dim}d" for kind in ("", "_transpose") for dim in (1, 2, 3)), "sigmoid")
# That of selu is torch's, "found empirically" (pytorch/pytorch#50664).
_GAINS: dict[str, float] = {**dict.fromkeys(_LINEAR, 1.0), "tanh": 5.0 / 3, "relu": sqrt(2.0), "selu": 3.0 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain that ``torch.nn.init`` recommends for a nonlinearity.

    >>> calculate_gain("tanh"), calculate_gain("leaky_relu", 0.2)
    (1.6666666666666667, 1.3867504905630728)

    Args:
        nonlinearity: a name of ``torch.nn.functional``: linear, conv1d, ..., conv_transpose3d and sigmoid (1), tanh (5/3), relu
            (√2), leaky_relu (√(2 / (1 + slope²))) or selu (3/4).
        param: the negative slope of leaky_relu, 0.01 where it is None; the others have none, and it is not looked at.

    Raises ``ValueError`` for any other nonlinearity, and for a slope that is no int or float.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"param: expected a negative slope, an int or a float, got {param!r}")
        return sqrt(2.0 / (1 + slope**2))
    gain = _GAINS.get(nonlinearity) if isinstance(nonlinearity, str) else None
    if gain is None:
        raise ValueError(f"nonlinearity: expected one of {', '.join((*_GAINS, 'leaky_relu'))}, got {nonlinearity!r}")
    return gain
