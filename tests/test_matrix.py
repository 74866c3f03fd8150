"""What `make matrix` makes of its environments: one that fails is not passed over."""

import pytest
from matrix import Outcome, verdict, well

GOOD = Outcome("3.11", "2.13.0", "a.whl", True, True, "d1")
OTHER = Outcome("3.12", "2.13.0", "a.whl", True, True, "d2")
BROKEN = Outcome("3.12", "2.13.0", "a.whl", True, False, "fastinit doctor: wrong")
ABSENT = Outcome("3.13", "2.11.0", "a.whl", False, False, "not installed: no such version")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([GOOD, GOOD], True),
        ([GOOD, ABSENT], True),
        ([GOOD, BROKEN], False),
        ([GOOD, OTHER], False),
        ([ABSENT], False),
        ([BROKEN], False),
    ],
)
def test_all_that_is_installed_has_one_digest(rows: list[Outcome], expected: bool) -> None:
    assert well(rows) is expected


def test_the_last_line_counts_them() -> None:
    rows = [GOOD, GOOD, BROKEN, ABSENT]
    assert verdict(rows) == "2 of 3 that could be installed are well, with 1 digest of the bits; 1 could not be"
