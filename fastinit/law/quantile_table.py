"""Coefficients of the quantile function, lowest power first. Written by tools/fit_quantile.py: do not edit.

L = log2(1 - x**2) with x = 2 Phi(z) - 1; the quantile polynomials give z / x. CENTRAL and WIDE take the kernels' own
logarithm t, the exponent + (m - 1) + a polynomial in the mantissa m, CENTRAL in the variable t + OCTAVES, and WIDE in
t - CENTRE. SKEW's t is the exponent + f times a polynomial in f = m - 1, m in [3/4, 3/2), up to the step by s (1 - s),
and then t - CENTRE; FLANK takes L - CENTRE. Each comment says what the fit itself costs, before fp32 rounding. Numbers
are fp32 values, but for CENTRAL, whose coefficients are rounded once they are multiplied by the std.
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

# log2(1 + f) / f for f in [-1/4, 1/2], in powers of f: error of the log 2.4e-06
SKEW_LOG_RATIO = (
    1.442683219909668,
    -0.7210999131202698,
    0.48158642649650574,
    -0.3709431290626526,
    0.2931404411792755,
    -0.14601446688175201,
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

WIDE_CENTRE = -9.5
WIDE_Y_STEP = 5  # this step of Horner's scheme, counted from the last, multiplies by s (1 - s)
# both tails, 2**-33 of the mass and more: error of the distribution function 6.3e-07
WIDE_QUANTILE = (
    3.7228593826293945,
    -0.1747138649225235,
    -0.0035794777795672417,
    -0.00010950211435556412,
    -1.8196753899246687e-06,
    0.0014174411771818995,
    -0.00028390507213771343,
    1.9459128452581353e-05,
    -4.55580902780639e-07,
)

SKEW_CENTRE = -16.0
SKEW_Y_STEP = 6  # this step of Horner's scheme, counted from the last, multiplies by s (1 - s)
# tails of 2**-35 of the mass and more: error of the distribution function 1.7e-07
SKEW_QUANTILE = (
    4.475252628326416,
    -0.14790374040603638,
    -0.0022462557535618544,
    -6.936707359272987e-05,
    -2.182810476369923e-06,
    -3.4433252693588656e-08,
    6.974979669394088e-07,
    -3.480902535102359e-07,
    7.295847126442823e-08,
    -8.078561819502283e-09,
)

FLANK_CENTRE = -9.0
# any interval that reaches within 2 sigma: error relative to the mass 9.1e-08
FLANK_QUANTILE = (
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
