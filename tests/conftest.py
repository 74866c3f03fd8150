"""One seed for every property test; none is given a deadline, as the interpreter compiles nothing ahead."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fastinit",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # drawing a strided tensor next to running an interpreted kernel
)
settings.load_profile("fastinit")
