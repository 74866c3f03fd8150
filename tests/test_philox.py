"""The bits: known answers, and the counter layout against Python integers."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interpreted import philox_words
from strategies import keys

from fastinit import reference
from fastinit.stream import Key

KNOWN = json.loads((Path(__file__).parent / "data" / "philox4x32_kat.json").read_text())["philox4x32"]


def words(numbers: list[str]) -> torch.Tensor:
    return torch.tensor([int(number, 16) for number in numbers])


def python_philox(counter: list[int], key: list[int], rounds: int = 10) -> list[int]:
    """Written from the paper, with Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q % 2**32, (p >> 32) ^ c[3] ^ k[1], p % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def python_word(index: int, key: Key) -> int:
    """Section 1.1 of the contract."""
    group = index // 4
    counter = [group % 2**32, group >> 32, key.stream % 2**32, key.stream >> 32]
    return python_philox(counter, [key.seed % 2**32, key.seed >> 32])[index % 4]


@pytest.mark.parametrize("case", KNOWN)
def test_known_answers_of_the_reference(case):
    got = reference.philox4x32(words(case["counter"]), words(case["key"]), case["rounds"])
    assert got.tolist() == words(case["words"]).tolist()


@pytest.mark.parametrize("case", KNOWN)
def test_known_answers_of_the_kernel(case):
    counter, key = words(case["counter"])[None], words(case["key"])[None]
    assert philox_words(counter, key, case["rounds"])[0].tolist() == words(case["words"]).tolist()


def test_reference_broadcasts():
    counters = torch.arange(24).view(2, 3, 4)
    got = reference.philox4x32(counters, torch.tensor([5, 6]))
    for i in range(2):
        for j in range(3):
            assert got[i, j].tolist() == python_philox(counters[i, j].tolist(), [5, 6])


@pytest.mark.parametrize(
    ("counter", "key"), [(torch.zeros(4), torch.zeros(2)), (torch.zeros(3).long(), torch.zeros(2).long())]
)
def test_reference_says_what_it_expects(counter, key):
    with pytest.raises(ValueError, match=r"counter: expected int64 of shape \(\.\.\., 4\)"):
        reference.philox4x32(counter, key)


@given(first=st.integers(0, 2**62), key=keys)
def test_words_of_a_run_follow_the_counter_layout(first, key):
    got = reference.words_of_run(first, 9, key)
    assert got.tolist() == [python_word(first + i, key) for i in range(9)]


@pytest.mark.parametrize("first", [0, 2**31 - 5, 2**32 - 3, 2**34 - 6, 2**34 + 1, 2**36 + 3, 2**63 + 5, 2**64 - 12])
def test_words_past_each_power_of_two(first):
    key = Key(2**64 - 3, 2**63 + 11)
    expected = [python_word(first + i, key) for i in range(12)]
    assert reference.words_of_run(first, 12, key).tolist() == expected
    assert reference.words_at(torch.arange(12), first, key).tolist() == expected
