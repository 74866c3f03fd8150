"""Key: the two 64-bit numbers from which, with the global index, every value follows.

Element ``i`` of the logical global tensor (row-major, 64-bit) takes word ``i % 4`` of

    Philox4x32-10(counter=(g low, g high, stream low, stream high), key=(seed low, seed high)),  g = i // 4

and nothing else enters: no rank, no block size, no memory layout, no launch order. These are cuRAND's own bits:
the word is output ``i`` of ``curand_init(seed, stream, 0)`` with ``curandStatePhilox4_32_10_t``.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

WRAPPER_PARTS = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def canonical_name(name: str) -> str:
    """The parameter's name without the parts that wrappers add.

    >>> canonical_name("_orig_mod.blocks.0._checkpoint_wrapped_module.attention.w_q.weight")
    'blocks.0.attention.w_q.weight'

    Raises ``TypeError`` for what is no string, and ``ValueError`` when nothing is left of the name.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: expected a parameter's name, a str, got {name!r}")
    parts = [part for part in name.split(".") if part and part not in WRAPPER_PARTS]
    if not parts:
        raise ValueError(f"name: expected a parameter's name, got {name!r}, which holds only wrapper parts")
    return ".".join(parts)


def stream_of(data: bytes) -> int:
    """The 64-bit stream id of some bytes: their 8-byte BLAKE2b digest, read little-endian."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Key:
    """Which random numbers a tensor gets.

    >>> Key.of("blocks.0.feed_forward_moe.experts.mlp.w1", seed=0)
    Key(seed=0, stream=3054110293068002457)

    ``seed`` and ``stream`` are integers in ``[0, 2**64)``, NumPy's and torch's too; two keys that differ in either give
    independent values. Raises ``TypeError`` for a value that is no integer and ``ValueError`` for one out of range.
    """

    seed: int = 0
    stream: int = 0

    def __post_init__(self) -> None:
        if type(self.seed) is int is type(self.stream) and 0 <= self.seed < 2**64 and 0 <= self.stream < 2**64:
            return
        for field in ("seed", "stream"):
            value = getattr(self, field)
            if type(value) is not int:
                value = _integer(field, value)
                object.__setattr__(self, field, value)
            if not 0 <= value < 2**64:
                raise ValueError(f"{field}: expected an int in [0, 2**64), got {value}")

    @classmethod
    def of(cls, name: str, seed: int = 0) -> "Key":
        """The key of the parameter called ``name``: its stream is a digest of the canonical name.

        >>> Key.of("_orig_mod.lm_head.weight", seed=1) == Key.of("lm_head.weight", seed=1)  # parts that wrappers add do not count
        True

        Raises what :class:`Key` raises, ``TypeError`` for a name that is no string, and ``ValueError`` for one without parts.
        """
        return cls(seed, stream_of(canonical_name(name).encode()))


def keys_of(names: Sequence[str], seed: int) -> list[Key]:
    """The keys of many canonical names, as they are, for one checked seed; each costs a third of ``Key(seed, stream)``.

    >>> keys_of(["lm_head.weight"], seed=0) == [Key.of("lm_head.weight", seed=0)]
    True
    """
    made, put, digest = object.__new__, object.__setattr__, hashlib.blake2b
    digests = [digest(name.encode(), digest_size=8).digest() for name in names]
    keys = []
    for stream in struct.unpack(f"<{len(digests)}Q", b"".join(digests)):
        key = made(Key)
        put(key, "seed", seed)
        put(key, "stream", stream)
        keys.append(key)
    return keys


def _integer(field: str, value: Any) -> int:
    """The int that an integer of another type is. ``index()`` takes the bools of Python and torch for integers."""
    boolean = isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
    try:
        number = None if boolean else index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{field}: expected an int in [0, 2**64), got {value!r}")
    return number
