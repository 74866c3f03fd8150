"""Statistics of tensors are exact, in whatever chunks they come, and stand beside what their laws give in the tensor's dtype."""

from math import erfc, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import fastinit
from fastinit.checkpoint.histogram import Histogram, patterns_of
from fastinit.checkpoint.parts import Parts
from fastinit.checkpoint.statistics import Tally, expected, parts_of
from fastinit.law.distributions import Normal, TruncatedNormal, Uniform
from fastinit.law.moments import below, moments, nodes, shown_range, support
from fastinit.law.transformed import Constant, InverseSoftplusOfLogUniform, LogOfUniform
from fastinit.model.filling import fill_law_
from fastinit.model.tiles import Tile
from fastinit.recipe.boxes import Box
from fastinit.recipe.entries import Entry
from fastinit.shard.geometry import LocalShard

EXACT = 1e-12  # of a moment, in stds: what a sum of fp64 numbers costs
DIGITS = 1e-9  # of a law's own numbers
NEXT_TERM = 40.0**-4  # of the tail's series, that the test leaves away
SUMS = 1e-7  # of the third powers of a few thousand numbers
SUMMED_DIGITS = 1e-8
ROUNDED = 1e-3  # bfloat16
FAR = 4.5  # standard errors; of a few hundred numbers one is beyond it in a thousand suites
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LAWS = (
    Normal(0.0, 0.02),
    Normal(1.0, 0.003),
    TruncatedNormal(0.0, 0.02, -0.06, 0.06),
    TruncatedNormal(0.0, 1.0, 3.0, 8.0),
    TruncatedNormal(1.0, 0.002, 0.99, 1.01),
    Uniform(-0.1, 0.1),
    Uniform(0.0, 1.0),
    LogOfUniform(0.0, 16.0),
    LogOfUniform(1.0, 16.0),
    InverseSoftplusOfLogUniform(0.001, 0.1, 1e-4),
)


def filled(law, dtype, elements, seed=0):
    return fill_law_(torch.empty(elements, dtype=dtype), law, key=fastinit.Key.of("w", seed=seed))


def tally_of(tensor, sizes=None):
    tally = Tally(tensor.dtype)
    for chunk in tensor.split(sizes or tensor.numel()):
        tally.add(chunk)
    return tally


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_numbers_of_a_law_look_like_it(law, dtype):
    """Each z-score, and that of chi-squared, is that of a standard normal: no dtype's grid passes for a deviation."""
    count = 5_000 if hasattr(law, "transform") else 200_000
    known = expected(((law, 1.0),), dtype)
    counted = tally_of(filled(law, dtype, count), 70_001).counted(known)
    scores = counted.statistics(known).scores
    assert counted.elements == count
    assert (counted.outside, counted.not_finite) == (0, 0)
    assert len(scores) >= 3 or known.moments.std == 0
    assert all(abs(z) < FAR for z in scores.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_and_counts_are_those_of_numpy(dtype):
    tensor = filled(Normal(0.3, 0.7), dtype, 50_003)
    known = expected(((Normal(0.3, 0.7), 1.0),), dtype)
    counted = tally_of(tensor, 999).counted(known)
    found, x = counted.statistics(known), tensor.double().numpy()
    assert found.mean.value == pytest.approx(x.mean(), abs=EXACT)
    assert found.std.value == pytest.approx(x.std(), abs=EXACT)
    assert found.skew.value == pytest.approx(stats.skew(x), abs=DIGITS)
    assert (counted.least, counted.largest) == (x.min(), x.max())
    edges = counted.histogram.edges
    assert counted.counts.tolist() == np.histogram(x, edges)[0].tolist()


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.sampled_from(DTYPES))
def test_chunks_and_sums_are_the_whole(sizes, dtype):
    tensor = filled(Normal(0.0, 1.0), dtype, sum(sizes))
    known = expected(((Normal(0.0, 1.0), 1.0),), dtype)
    whole, split = tally_of(tensor).counted(known), tally_of(tensor, sizes).counted(known)
    added = tally_of(tensor[: sizes[0]]).counted(known)
    for chunk in tensor[sizes[0] :].split(sizes[1:]) if len(sizes) > 1 else ():
        added = added + tally_of(chunk).counted(known)
    for other in (split, added):
        assert other.counts.tolist() == whole.counts.tolist()
        assert (other.least, other.largest, other.elements) == (whole.least, whole.largest, whole.elements)
        assert other.powers == pytest.approx(whole.powers, abs=SUMS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_wrong_is_counted(dtype):
    known = expected(((TruncatedNormal(0.0, 0.02, -0.06, 0.06), 1.0),), dtype)
    tensor = filled(TruncatedNormal(0.0, 0.02, -0.06, 0.06), dtype, 5000)
    tensor[:3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    tensor[3:8] = 0.5
    counted = tally_of(tensor).counted(known)
    assert (counted.not_finite, counted.outside, counted.elements) == (3, 5, 4997)
    tensor[3:8] = 0.0
    tensor[8:] += 0.001
    found = tally_of(tensor[8:]).counted(known).statistics(known)
    assert found.mean.z > 3


def test_a_bound_that_is_passed_by_a_hair_is_seen():
    known = expected(((Uniform(-1.0, 1.0), 1.0),), torch.float32)
    tensor = filled(Uniform(-1.0, 1.0), torch.float32, 100)
    tensor[5] = -1.0000001
    assert tally_of(tensor).counted(known).outside == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_is_one_number(dtype):
    known = expected(((Constant(0.1), 1.0),), dtype)
    counted = tally_of(torch.full((300,), 0.1, dtype=dtype)).counted(known)
    assert counted.outside == 0
    assert counted.statistics(known).scores == {}
    assert tally_of(torch.full((300,), 0.2, dtype=dtype)).counted(known).outside == 300


def test_laws_by_box_are_a_mixture_with_fixed_shares():
    """A padding row of zeros, and numbers: the mean's error is that of the numbers alone."""
    law = Normal(0.0, 1.0)
    zero, rest = LocalShard((10, 500), (0, 0)), LocalShard((10, 500), (1, 0))
    entry = Entry(
        "w", (), (10, 500), (Tile((0, 0), (1, 500), Constant(0.0), "w", zero), Tile((1, 0), (9, 500), law, "w", rest))
    )
    assert parts_of(entry) == ((Constant(0.0), 0.1), (law, 0.9))
    assert parts_of(entry, [Box((0, 0), (2, 500))]) == ((Constant(0.0), 0.5), (law, 0.5))
    tensor = filled(law, torch.bfloat16, 5000)
    tensor[:500] = 0.0
    known = expected(parts_of(entry), torch.bfloat16)
    assert known.moments.mean_error == pytest.approx(sqrt(0.9), rel=ROUNDED)  # of the rounded numbers
    assert all(abs(z) < FAR for z in tally_of(tensor).counted(known).statistics(known).scores.values())


def test_moments_are_those_of_scipy():
    for law, scipy_s in (
        (Normal(0.5, 2.0), stats.norm(0.5, 2.0)),
        (TruncatedNormal(0.5, 2.0, -1.0, 4.0), stats.truncnorm(-0.75, 1.75, 0.5, 2.0)),
        (TruncatedNormal(0.0, 1.0, 5.0, float("inf")), stats.truncnorm(5.0, float("inf"))),
        (Uniform(-3.0, 1.0), stats.uniform(-3.0, 4.0)),
    ):
        mean, variance, skew = (float(value) for value in scipy_s.stats("mvs"))
        found = moments([(1.0, nodes(law))])
        assert (found.mean, found.std, found.skew) == pytest.approx((mean, sqrt(variance), skew), abs=SUMMED_DIGITS)
        for x in np.linspace(*shown_range(law), 9):
            assert below(law, float(x)) == pytest.approx(float(scipy_s.cdf(x)), abs=DIGITS)
    normal = moments([(1.0, nodes(Normal(0.0, 3.0)))])
    assert (normal.mean_error, normal.std_error, normal.skew_error) == pytest.approx(
        (3.0, 3 / sqrt(2), sqrt(6)), abs=DIGITS
    )


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_the_share_below_rises_from_none_to_all(law):
    low, high = support(law)
    inside = np.linspace(max(low, -20.0), min(high, 20.0), 200)
    shares = [below(law, float(x)) for x in inside]
    assert shares == sorted(shares)
    assert below(law, low) == 0.0
    assert below(law, float(np.nextafter(high, np.inf))) == 1.0


def test_a_tail_beyond_fp64_s_erfc_has_its_shape():
    law = TruncatedNormal(0.0, 1.0, 40.0, float("inf"))
    assert erfc(40 / sqrt(2)) == 0.0
    assert below(law, 40.02) == pytest.approx(1 - np.exp(-(40.02**2 - 40**2) / 2) * 40 / 40.02, abs=NEXT_TERM)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_coarse_grid_fills_the_bins_between_its_numbers(dtype):
    """Around 1 bfloat16 has a number every 0.0078: a histogram over less than that is one bar."""
    histogram = Histogram.over(dtype, 0.999, 1.001)
    tensor = filled(Normal(1.0, 0.0002), dtype, 4000)
    density = histogram.density(histogram.counts(patterns_of(tensor), dtype))
    widths = np.diff(np.linspace(histogram.edges[0], histogram.edges[-1], len(density) + 1))
    assert float(density.max()) > 0
    if dtype == torch.bfloat16:
        assert len(set(density.tolist())) == 1
        assert len(widths) == len(density)


@given(st.lists(st.integers(0, 5), max_size=4).map(tuple), st.integers(1, 40))
def test_parts_tile_a_tensor_in_order(shape, most):
    tensor = torch.arange(int(np.prod(shape)), dtype=torch.int64).view(shape)
    seen = []
    for place, part in Parts(shape, most):
        box = tensor[tuple(slice(o, o + n) for o, n in zip(place.global_offset, part, strict=True))]
        assert tuple(box.shape) == part
        assert box.numel() <= most
        seen += box.flatten().tolist()
    assert seen == list(range(tensor.numel()))
