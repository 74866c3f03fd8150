"""Coefficients of the quantile function, lowest power first. Written by tools/fit_quantile.py: do not edit.

L = log2(1 - x**2) with x = 2 Phi(z) - 1; the quantile polynomials give z / x. CENTRAL and WIDE take the kernels' own
logarithm t, the exponent + (m - 1) + a polynomial in the mantissa m, CENTRAL in the variable t + OCTAVES, and WIDE in
t - CENTRE; SKEW takes L - CENTRE. Each comment says what the fit itself costs, before fp32 rounding. Numbers are fp32
values, but for CENTRAL, whose coefficients are rounded once they are multiplied by the std.
"""

# log2(m) - (m - 1) + constant for m in [1, 2], in m, ..., m**5: error 1.3e-05
LOG_BUMP = (
    4.091710090637207,
    -3.5507922172546387,
    1.6311482191085815,
    -0.4165635108947754,
    0.044873591512441635,
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

CENTRAL_2_OCTAVES = 5
# bounds within +-2.01 sigma: error of the distribution function 4.9e-07
CENTRAL_2_QUANTILE = (
    2.864760634274357,
    -0.2269176318110962,
    0.0015860578641878225,
    -0.0016699908087282913,
    0.0002301157463099844,
    -7.468110975953389e-06,
)

CENTRAL_3_OCTAVES = 9
# bounds within +-3.01 sigma: error of the distribution function 4.9e-07
CENTRAL_3_QUANTILE = (
    3.59641970959826,
    -0.13968484956133453,
    -0.019871528396119238,
    0.0034416130775934153,
    -0.0004381914627007212,
    2.8102562663052052e-05,
    -6.425802083109178e-07,
)

WIDE_CENTRE = -7.0
WIDE_Y_STEP = 5  # this step of Horner's scheme multiplies by s (1 - s), and not by t
# both tails, 2**-33 of the mass and more: error of the distribution function 9.6e-07
WIDE_QUANTILE = (
    3.2619783878326416,
    -0.19496159255504608,
    -0.004350624978542328,
    -0.00011111636558780447,
    -1.3226053852122277e-06,
    0.0029474254697561264,
    -0.0007717577391304076,
    7.006795203778893e-05,
    -2.1965317955618957e-06,
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
