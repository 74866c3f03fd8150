"""The checked-in coefficients are what the fit gives, anew, on this machine."""

import fit_quantile

from fastinit import quantile_table


def test_table_is_what_the_fit_writes():
    assert fit_quantile.TABLE.read_text() == fit_quantile.render()


def test_log_bump_joins_octave_to_octave():
    """The bump is zero at both ends of [1, 2], to fp32 rounding of its coefficients."""
    for m in (1.0, 2.0):
        assert abs(sum(c * m**k for k, c in enumerate(quantile_table.LOG_BUMP))) < 2e-6
