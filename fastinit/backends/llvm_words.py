"""Philox4x32-10 as the llvm backend compiles it: four vectors of words for a vector of counters."""

from fastinit.backends.llvm_ir import I32, U64, Value
from fastinit.backends.llvm_ops import bitcast, load, loop, shuffle, store

ROUNDS = 10
KEY_BYTES = 16 * ROUNDS
_LOW, _M0, _M1, _W0, _W1 = 0xFFFFFFFF, 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85


def write_keys(keys: Value, seed: Value) -> None:
    """Both words of each round's key, in KEY_BYTES at an address: in memory they take no registers."""
    words = [seed & _LOW, seed >> 32]
    with loop(keys, keys + KEY_BYTES, 16, carried=words) as key:
        k0, k1 = words
        store(k0, key)
        store(k1, key + 8)
        words[:] = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW


def philox(groups: Value, stream: Value, keys: Value) -> list[Value]:
    """The four words of each group, in the lower halves of 64-bit lanes; what the upper halves hold is left over.

    A loop over the rounds costs 5 % of the speed and saves half of the time to compile.
    """
    words = [groups, groups >> 32, groups.like(stream & _LOW), groups.like(stream >> 32)]
    with loop(keys, keys + KEY_BYTES, 16, carried=words) as key:
        c0, c1, c2, c3 = words
        p, q = (c0 & _LOW) * _M0, (c2 & _LOW) * _M1
        words[:] = (q >> 32) ^ (c1 ^ load(key, U64)), q, (p >> 32) ^ (c3 ^ load(key + 8, U64)), p
    return words


def in_order(words: list[Value]) -> Value:
    """The words of consecutive groups in one vector, as consecutive elements take them."""
    c0, c1, c2, c3 = words
    groups = c0.type.lanes
    low, high = (c0 & _LOW) | (c1 << 32), (c2 & _LOW) | (c3 << 32)
    return bitcast(shuffle(low, high, [k // 2 + k % 2 * groups for k in range(2 * groups)]), I32)


def lower_halves(word: Value) -> Value:
    """64-bit lanes as 32-bit lanes."""
    halves = bitcast(word, I32)
    return shuffle(halves, halves, range(0, halves.type.lanes, 2))
