"""What the host proves of a law: no clamp is left out that a word needs, and every interval keeps its budget."""

import math

import interpreted
import prove
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from laws import assert_same_bits
from scipy import special
from strategies import DTYPES, LAWS

from fastinit import reference
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.lowered import Clamp, Regime, nearest
from fastinit.law.lowering import lower

# The words at both ends of the law and around its middle, where levels begin, end and change sign; and some between.
NEAR = 700
ENDS = torch.cat([torch.arange(NEAR), 2**31 + torch.arange(-NEAR, NEAR), 2**32 - 1 - torch.arange(NEAR)])
# What a proved end may be away from the end itself, in widths of the law: a bound that is far away would prove nothing.
SLACK = 1e-4
WORDS = torch.cat([ENDS, torch.arange(0, 2**32, 2**32 // 500)])


def expected(law, dtype):
    """The reference's values, clamped whether or not they need it."""
    lowest, highest = lower(law).bounds(str(dtype).removeprefix("torch."))
    return reference.values_of(WORDS, lower(law)).clamp_(lowest, highest).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("law", LAWS)
def test_words_at_the_ends(law, dtype):
    assert_same_bits(interpreted.values_of_words(WORDS, LAWS[law], dtype), expected(LAWS[law], dtype))


@settings(max_examples=25)
@given(
    std=st.sampled_from((0.02, 1.0, 1024**-0.5, 3e-5)),
    below=st.floats(-3.0, -1.0),
    above=st.none() | st.floats(1.0, 3.0),
    centre=st.sampled_from((0.0, 0.0, 5.0)),
    dtype=st.sampled_from(DTYPES),
)
def test_any_interval_of_init(std, below, above, centre, dtype):
    """Symmetric ones where ``above`` is None, for which a floor under y may stand in for both clamps."""
    above = -below if above is None else above
    law = TruncatedNormal(centre * std, std, (centre + below) * std, (centre + above) * std)
    assert_same_bits(interpreted.values_of_words(WORDS, law, dtype), expected(law, dtype))


@pytest.mark.parametrize(
    "law",
    [
        TruncatedNormal(2.2e-9, 0.02, 0.0, math.inf),  # its first words come out as -8e-10
        TruncatedNormal(0.0, 1e-9, -3e-9, 3e-9),
        TruncatedNormal(0.0, 2.0**-24, -0.95 * 2.0**-24, 0.95 * 2.0**-24),
        TruncatedNormal(0.0, 2.0**-24, -0.95 * 2.0**-24, 1.5 * 2.0**-24),
    ],
    ids=str,
)
def test_a_bound_of_zero_is_passed_by_no_zero_with_a_sign(law):
    """In fp16, where the bound is 0 and values below it are rounded to 0."""
    assert lower(law).bounds("float16")[0] == 0
    assert_same_bits(interpreted.values_of_words(WORDS, law, torch.float16), expected(law, torch.float16))


def test_laws_reach_every_clamp():
    clamps = {interpreted.backend._clamp(law, dtype)[0] for law in LAWS.values() for dtype in DTYPES}
    assert clamps == {Clamp(0), Clamp.BELOW, Clamp.ABOVE, Clamp.BELOW | Clamp.ABOVE, Clamp.FLOOR}


@pytest.mark.parametrize("law", ["3sigma", "default"])
def test_the_laws_of_init_need_no_clamp_in_fp32(law):
    assert lower(LAWS[law]).clamp("float32") == Clamp(0)


@given(
    centre=st.sampled_from((0.0, 0.0, 20.0)),
    std=st.sampled_from((0.02, 1.0, 3e-5, 1e-12, 1e25)),
    below=st.floats(-3.0, 2.9) | st.floats(-40.0, 40.0),
    width=st.floats(0.01, 6.0) | st.just(math.inf),
)
@example(centre=0.0, std=0.02, below=-2.5, width=5.0)
@example(centre=0.0, std=0.02, below=-0.94, width=1.88)  # the least mass that CENTRAL takes
@example(centre=0.0, std=1e-12, below=-1.97, width=3.94)  # the least that WIDE takes
@example(centre=0.0, std=1.0, below=-0.4, width=3.4)
@example(centre=0.0, std=1.0, below=-0.43, width=0.86)  # the least mass that SKEW takes
@example(centre=0.0, std=1.0, below=-0.42, width=0.84)
@example(centre=0.0, std=1.0, below=0.43, width=math.inf)
@example(centre=0.0, std=1.0, below=0.45, width=math.inf)
@example(centre=0.0, std=1.0, below=-2.192, width=0.377)  # FLANK, all but NARROW
@example(centre=0.0, std=1.0, below=1.99, width=math.inf)
@example(centre=0.0, std=0.523, below=1.957, width=0.2837)  # FLANK was 1.8e-6 off
@example(centre=0.0, std=1.0, below=-2.0344, width=2.5018)  # CENTRAL was 1.05e-6 off
@example(
    centre=0.0, std=0.02, below=-1.1e-7, width=math.inf
)  # the first words right of the split come out below the bound
@example(centre=0.0, std=1.0, below=-3.0, width=3.0 + 1e-7)
@settings(max_examples=60)
def test_every_interval_keeps_the_budget(centre, std, below, width):
    above = below + width
    mean = float(torch.tensor(centre * std))  # an fp32 value, as another one costs a rounding of its own
    law = TruncatedNormal(mean, std, mean + below * std, mean + above * std)
    figures = prove.prove("drawn", law, 2**14)
    assert figures.inside
    assert figures.beyond_rounding <= prove.BUDGET, (lower(law).regime, figures)


def test_what_is_proved_of_the_ends_is_near_them():
    for name, law in LAWS.items():
        lowered = lower(law)
        if lowered.regime in (Regime.CENTRAL, Regime.WIDE, Regime.UNIFORM):
            values = reference.values_of(torch.tensor([2**31, 2**31 - 1]), lowered).double()
            width = float(values[1] - values[0])
            assert lowered.least <= float(values[0]) <= lowered.least + SLACK * width, name
            assert lowered.greatest >= float(values[1]) >= lowered.greatest - SLACK * width, name


@pytest.mark.parametrize(
    "law",
    [
        Uniform(0.0, 2.0**-127),
        Uniform(-1e-40, 1e-40),
        Normal(0.0, 1e-39),
        TruncatedNormal(1.0, 2.0**-127, -2.0, 2.0),
        TruncatedNormal(0.0, 1e-30, 3e-30, math.inf),  # its last words came out as -354 sigma
        TruncatedNormal(0.0, 1e-37, 6e-37, 8e-37),
        TruncatedNormal(0.0, 1e-35, 5e-35, 6e-35),
        TruncatedNormal(0.0, 1e-37, 1e-38, 1.1e-38),
        TruncatedNormal(0.0, 1e-36, 2e-36, 2.001e-36),
    ],
    ids=str,
)
def test_what_fp32_has_no_digits_for_is_refused(law):
    with pytest.raises(
        ValueError,
        match=r"^(std|b): expected .*2\*\*-126, the least normal"
        r"|^std: expected a (far tail|narrow interval) that .* whose least normal number is .* divide the tensor$",
    ):
        lower(law)


@pytest.mark.parametrize("a", [-math.inf, -3e38, 0.0, 1e38])
@pytest.mark.parametrize("b", [3e38, math.inf])
def test_a_std_of_which_fp32_does_not_hold_the_double_is_refused(a, b):
    """The kernels' -2 * std was infinite, and a half-normal law's values -inf."""
    assert lower(TruncatedNormal(0.0, math.nextafter(2.0**127 - 2.0**102, 0), a, b)).gain < 2.0**127
    for std in (2.0**127 - 2.0**102, 2.0**127, 3e38):
        with pytest.raises(ValueError, match=r"^std: expected less than 2\*\*127, "):
            lower(TruncatedNormal(0.0, std, a, b))


@pytest.mark.parametrize(
    ("std", "lower_bound", "upper_bound"),
    [(1e-18, 5.0, math.inf), (1e-20, 8.0, math.inf), (1e-30, 5.0, math.inf), (1e-33, 5.0, 6.0), (1e-33, -6.0, -5.0)],
)
def test_far_tails_of_a_small_std_keep_the_budget(std, lower_bound, upper_bound):
    """Where fp32 holds fewer digits of a coefficient, what matters is what becomes of the values."""
    figures = prove.prove("drawn", TruncatedNormal(0.0, std, lower_bound * std, upper_bound * std), 2**14)
    assert figures.holds, figures


@pytest.mark.parametrize("std", [1e-17, 1e-18, 1e-20, 1e-25, 1e-30])
def test_the_last_words_of_a_far_tail_are_no_outliers(std):
    """Each is off by less than a width of the tail; the last two are ln 3 of them apart."""
    last = torch.arange(2**31 - 5, 2**31)
    values = reference.values_of(last, lower(TruncatedNormal(0.0, std, 5 * std, math.inf))).double() / std
    share = (2**31 - 1 - last.double() + 0.5) / 2**32
    truth = -special.ndtri_exp(share.log().numpy() + special.log_ndtr(-5.0))
    assert (values - torch.from_numpy(truth)).abs().max() < 1 / (5 + 1 / 5)


@pytest.mark.parametrize("std", [1e-20, 1e-25, 1e-30, 1e-37])
@pytest.mark.parametrize(("a", "b"), [(1.5, 2.5), (1 + 2**-52, 1.5), (1 + 2**-52, math.inf), (-math.inf, 0.5)])
def test_a_far_tail_that_is_narrower_than_fp32s_spacing_is_its_bound(std, a, b):
    law = TruncatedNormal(1.0, std, a, b)
    lowest, highest = lower(law).bounds("float32")
    values = reference.values_of(WORDS, lower(law)).clamp_(lowest, highest)
    assert (values == (lowest if a > 1 else highest)).all()


@pytest.mark.parametrize("width", [2.0**-126, 1e-37, 1e-36, 1e-34, 2.0**-94, 2.0**-93])
@pytest.mark.parametrize("start", [0.0, -0.5, -1.0, 3.0])
def test_narrow_uniforms_are_even(start, width):
    """The least normal width is held; up to 2**-94 the scale of the words would be no normal number."""
    law = Uniform(start * width, (start + 1) * width)
    words = torch.arange(0, 2**32, 2**16 + 1)
    levels = ((words ^ 2**31).double() + 0.5) / 2**32
    values = reference.values_of(words, lower(law)).double()
    rounding = max(abs(law.a), abs(law.b)) * 2.0**-22  # two, at the end that is farther from 0
    assert float(((values - law.a) - levels * width).abs().max()) <= rounding


@given(
    std=st.sampled_from((2.0**-24, 3e-5, 0.02, 1.0, 2.0**60)),
    below=st.sampled_from((-3.01, -3.0, -2.0101, -2.01, -2.0)) | st.floats(-3.01, -0.9),
    above=st.none() | st.floats(0.9, 3.01),
)
@example(std=1.0, below=-3.01, above=None)
def test_central_has_no_subnormal(std, below, above):
    """Not even y, whose exponents are the smallest: the margin is the one that lowering.py states."""
    lowered = lower(TruncatedNormal(0.0, std, below * std, (-below if above is None else above) * std))
    if lowered.regime is Regime.CENTRAL:
        ends = [nearest(word * lowered.scale + lowered.offset) for word in (-(2.0**31), 2.0**31)]
        assert all(nearest(lowered.origin - x * x) > 1.335 * 2.0**-126 for x in ends)
        assert all(abs(number) >= 2.0**-126 for number in (*lowered.coefficients, lowered.scale))
