"""Coefficients of the quantile function, lowest power first. Written by tools/fit_quantile.py: do not edit.

Every number is an fp32 value. L = log2(1 - x**2) with x = 2 Phi(z) - 1; the quantile polynomials give z / x in
the variable L - CENTRE, and each comment says what the fit itself costs, before fp32 rounding.
"""

# log2(m) - (m - 1) for m in [1, 2], in powers of m: error 2.2e-06
LOG_BUMP = (
    -2.0437841415405273,
    5.127142906188965,
    -5.363825798034668,
    3.303978681564331,
    -1.2745167016983032,
    0.27684661746025085,
    -0.025841450318694115,
)

# log2(1 + f) / f for f in [-1/4, 1/2], in powers of f: error of the log 8.3e-09
LOG_RATIO = (
    1.4426950216293335,
    -0.72134929895401,
    0.48090219497680664,
    -0.3605348765850067,
    0.28816086053848267,
    -0.24328991770744324,
    0.21707451343536377,
    -0.1722274124622345,
    0.07486546784639359,
)

CENTRAL_CENTRE = -2.5
# bounds within +-3.01 sigma: relative error of the distribution function 2.3e-07
CENTRAL_QUANTILE = (
    1.853165626525879,
    -0.24549995362758636,
    -0.000348600500728935,
    0.0009032589150592685,
    6.318926170933992e-05,
    -3.6911521874571918e-06,
    -5.878609954379499e-07,
)

WIDE_CENTRE = -7.0
# both tails, 2**-33 of the mass and more: error of the distribution function 1.2e-07
WIDE_QUANTILE = (
    2.89633846282959,
    -0.21157710254192352,
    -0.004969197791069746,
    -5.137686457601376e-05,
    2.0660243535530753e-05,
    2.7916248654946685e-06,
    1.2516976255483314e-07,
    -6.545481046060786e-09,
    -9.515936927328994e-10,
    -3.30059486686185e-11,
    8.573189765525777e-14,
    2.7082773957493034e-14,
    4.182868922108021e-16,
)

SKEW_CENTRE = -9.0
# any interval that reaches within 2 sigma: error relative to the mass 9.1e-08
SKEW_QUANTILE = (
    3.3002817630767822,
    -0.19272446632385254,
    -0.004390219692140818,
    -0.00012497438001446426,
    2.805170197461848e-06,
    9.303600450039085e-07,
    9.954875679341058e-08,
    6.7248211443882155e-09,
    2.8355592179840627e-11,
    -4.275708606615858e-11,
    -3.297579657252081e-12,
    -3.642488329187732e-14,
    7.789379357454537e-15,
    5.0177030067350835e-16,
    1.4117653641842584e-17,
    1.9821135775012637e-19,
    1.1316647660969993e-21,
)
