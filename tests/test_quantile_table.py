"""The checked-in coefficients are what the fit gives, anew, on this machine."""

import fit_quantile

from fastinit.law import quantile_table


def test_table_is_what_the_fit_writes():
    assert fit_quantile.TABLE.read_text() == fit_quantile.render()


def test_log_bump_joins_octave_to_octave():
    """log2(m) - (m - 1) is zero at both ends of [1, 2]; the fit to it is the same at both, to fp32 rounding."""
    at = [sum(c * m ** (k + 1) for k, c in enumerate(quantile_table.LOG_BUMP)) for m in (1.0, 2.0)]
    assert abs(at[0] - at[1]) < 2e-6
