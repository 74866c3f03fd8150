"""One digest of all bits of a model: of any order of its tensors, and computed a tensor at a time."""

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_CHUNK = 2**26  # bytes; what is on the host at once, a thread, of a tensor on another device


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of the tensor's raw bytes, row-major and little-endian, as every machine with a GPU stores them.

    >>> tensor_digest(torch.zeros(3))
    '15ec7bf0b50732b49f8228e07d24365338f9e3ab994b00af08e5a3bffe55fd8b'
    """
    digest = hashlib.sha256()
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for chunk in flat.split(_CHUNK):
        digest.update(memoryview(chunk.cpu().numpy()))
    return digest.hexdigest()


def model_digest(tensors: Mapping[str, Tensor], each: Callable[[Tensor], object] = lambda tensor: None) -> str:
    """SHA-256 of the lines ``<digest of the tensor>  <name>``, sorted by name: what sha256sum would print.

    >>> one, two = torch.ones(2), torch.zeros(3)
    >>> model_digest({"a": one, "b": two}) == model_digest({"b": two, "a": one})
    True

    ``each`` is called with every tensor when it is done. Threads hash tensors side by side: hashing frees the GIL.
    """

    def one(name: str) -> str:
        digest = tensor_digest(tensors[name])
        each(tensors[name])
        return digest

    # The largest first, so that none is left over for the end.
    names = sorted(tensors, key=lambda name: -tensors[name].numel())
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = dict(zip(names, pool.map(one, names), strict=True))
    return digest_of_lines(digests)


def digest_of_lines(digests: Mapping[str, str]) -> str:
    """SHA-256 of the lines of all tensors, from the digest of each by its name."""
    return hashlib.sha256("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()).hexdigest()
