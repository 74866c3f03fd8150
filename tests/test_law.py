"""The law: sampled words of every proved configuration keep its budget; moments and quantiles; bounds in every dtype."""

import json
import math

import prove
import pytest
import torch
from scipy import stats
from strategies import DTYPES

import fastinit
from fastinit import Key
from fastinit.init import fill_
from fastinit.law.distributions import TruncatedNormal, Uniform

WORDS = 2**18
SAMPLES = 2**20
STANDARD_ERRORS = 5
PROVED = {row["law"]: row for row in json.loads((prove.RESULTS / "law.json").read_text())}


@pytest.mark.parametrize("name", prove.LAWS)
def test_sampled_words_keep_the_budget(name):
    figures = prove.prove(name, prove.LAWS[name], WORDS)
    assert figures.holds, figures


@pytest.mark.parametrize("name", prove.LAWS)
def test_the_enumeration_on_file_is_of_this_law_and_complete(name):
    """The file holds all 2**32 words of each law; the sampled figures cannot be larger than the proved ones."""
    proved = prove.Figures(**PROVED[name])
    sampled = prove.prove(name, prove.LAWS[name], WORDS)
    assert proved.words == 2**32
    assert proved.holds, proved
    assert sampled.regime == proved.regime
    assert sampled.distance <= proved.distance
    assert (proved.lowest, proved.highest) == (sampled.lowest, sampled.highest)


def true_law(law):
    if isinstance(law, Uniform):
        return stats.uniform(law.a, law.b - law.a)
    if not isinstance(law, TruncatedNormal):
        return stats.norm(law.mean, law.std)
    return stats.truncnorm((law.a - law.mean) / law.std, (law.b - law.mean) / law.std, law.mean, law.std)


@pytest.mark.parametrize("name", [name for name in prove.LAWS if name != "[0.5, 0.500001]"])  # 17 fp32 values
def test_moments_and_quantiles(name):
    law = prove.LAWS[name]
    values = fill_(torch.empty(SAMPLES), law, key=Key.of(name, 5)).double()
    truth = true_law(law)
    lower, upper = truth.ppf(1e-12), truth.ppf(1 - 1e-12)
    # In units of the law's own spread, as scipy's moments of far tails and tiny scales lose their digits.
    grid = torch.tensor(truth.ppf([(k + 0.5) / 4000 for k in range(4000)]))
    spread, centre = float(grid.std()), float(grid.mean())
    error = STANDARD_ERRORS * spread / math.sqrt(SAMPLES) + 1e-3 * spread * (upper - lower > 8 * spread)
    assert abs(float(values.mean()) - centre) <= error
    for share in (0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999):
        below = float((values <= float(truth.ppf(share))).double().mean())
        assert abs(below - share) <= STANDARD_ERRORS * math.sqrt(share * (1 - share) / SAMPLES) + 1e-4 * (
            name == "[30, 31]"
        )


@pytest.mark.filterwarnings("ignore:mean is more than 2 std")  # far tails are meant
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", prove.LAWS)
def test_no_value_past_a_bound(name, dtype):
    law = prove.LAWS[name]
    a, b = (getattr(law, "a", -math.inf), getattr(law, "b", math.inf))
    tensor = torch.empty(2**16, dtype=dtype)
    if name == "[0.5, 0.500001]" and dtype in (torch.bfloat16, torch.float16):
        b = 0.5  # the one value that these dtypes have there
    values = fill_(tensor, law, key=Key(1)).double()
    assert float(values.min()) >= a
    assert float(values.max()) < b if isinstance(law, Uniform) else float(values.max()) <= b


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_bound_between_two_values_is_rounded_inwards(dtype):
    values = fastinit.trunc_normal_(torch.empty(2**18, dtype=dtype), std=0.02, a=-0.06, b=0.06, key=Key(3)).double()
    assert float(values.abs().max()) <= 0.06
    assert float(values.abs().max()) > 0.0595


def test_no_outlier_of_torchs_wide_default():
    """std=0.02 within [-2, 2] is no truncation; older formulas gave 100 sigma outliers."""
    values = fastinit.trunc_normal_(torch.empty(2**24), std=0.02, key=Key(4))
    assert 0.1 < float(values.abs().max()) < 6.5 * 0.02
