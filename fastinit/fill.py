"""Fill: all that a backend is told about one fill of one plain tensor."""

from dataclasses import dataclass

from fastinit.distributions import Distribution
from fastinit.geometry import LocalShard
from fastinit.lowered import Lowered
from fastinit.lowering import lower
from fastinit.stream import Key


@dataclass(frozen=True, slots=True)
class Fill:
    """A law, a key, and the box of the logical global tensor that the tensor at hand is.

    Every backend's ``fill_(tensor, fill)`` writes to each element of ``tensor`` (any strides, at least one element)
    the value that the contract gives to the element's global index.
    """

    distribution: Distribution
    key: Key
    shard: LocalShard

    @property
    def lowered(self) -> Lowered:
        """The kernel constants of the law."""
        return lower(self.distribution)
