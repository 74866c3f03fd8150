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

CENTRAL_CENTRE = -3.78125
# bounds within +-3.01 sigma: relative error of the distribution function 2.3e-07
CENTRAL_QUANTILE = (
    2.1654207706451416,
    -0.2407274693250656,
    -0.0031442393083125353,
    0.0005435489001683891,
    7.236020610434934e-05,
    8.280293286588858e-07,
    -5.878609954379499e-07,
)

WIDE_CENTRE = -16.0
# both tails, 2**-33 of the mass and more: error of the distribution function 1.2e-07
WIDE_QUANTILE = (
    4.475409030914307,
    -0.1478053480386734,
    -0.0022485265508294106,
    -8.121642895275727e-05,
    -1.6081880858109798e-06,
    2.5018027827172773e-07,
    -1.4839847573000498e-08,
    -2.7001259006453893e-09,
    1.3519782515736267e-10,
    1.2847081905242863e-11,
    -3.593008865692554e-13,
    -1.809221209533949e-14,
    4.182868922108021e-16,
)

SKEW_CENTRE = -21.25
# any interval that reaches within 3 sigma: error relative to the mass 2.7e-07
SKEW_QUANTILE = (
    5.198812484741211,
    -0.1289682388305664,
    -0.0014494333881884813,
    -3.486271089059301e-05,
    -2.4179557840398047e-06,
    9.84063603937102e-08,
    1.3376957319621852e-08,
    -2.0129560240889077e-09,
    -4.128026392935524e-11,
    1.3026364709123328e-11,
    -1.2348845904175398e-13,
    -4.2197070626104685e-14,
    1.0213642921396153e-15,
    6.865435633301089e-17,
    -2.1214082852639617e-18,
    -4.380646095856546e-20,
    1.4901096308871807e-21,
)
