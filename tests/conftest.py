"""For every test: Triton's interpreter, and one seed for the property tests."""

import os

# Read when the kernels are imported, so before any test is. Those that compile do so in a process of their own.
os.environ["TRITON_INTERPRET"] = "1"

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fastinit",
    derandomize=True,
    deadline=None,  # the first example compiles
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # drawing a strided tensor next to running an interpreted kernel
)
settings.load_profile("fastinit")
