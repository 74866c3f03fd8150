"""Run by test_launches.py in a process of its own: real compilation for sm_90, with a driver that launches nothing.

Prints one JSON object: how many kernels were compiled for which change of the arguments.
"""

import itertools
import json

import torch
import triton
from null_driver import Driver
from triton.runtime import driver

import fastinit
from fastinit import Key, LocalShard, foreach, foreach_fill_, op
from fastinit.backends import triton as backend
from fastinit.law.distributions import TruncatedNormal


def kernels() -> int:
    """Compiled so far."""
    caches = [kernel.device_caches[0][0] for kernel in (backend.fill_rows, backend.fill_box, backend.fill_table)]
    return sum(map(len, caches))


def fills(shape, seeds=(1,), stds=(0.02,), shards=(None,), dtype=torch.float32):
    """Fill a tensor under every combination."""
    tensor = torch.empty(shape, dtype=dtype)
    for seed in seeds:
        for std in stds:
            for shard in shards:
                fastinit.trunc_normal_(tensor, std=std, a=-3 * std, b=3 * std, key=Key(seed, seed // 3), shard=shard)


def lists(sizes, seeds=(1,), stds=(0.02,), offsets=(0,), dtype=torch.float32):
    """Fill a list of tensors, one for each combination."""
    cases = list(itertools.product(sizes, seeds, stds, offsets))
    foreach_fill_(
        [torch.empty(size, dtype=dtype) for size, *_ in cases],
        [TruncatedNormal(0.0, std, -3 * std, 3 * std) for _, _, std, _ in cases],
        keys=[Key(seed, seed // 3) for _, seed, _, _ in cases],
        shards=[LocalShard((2**40,), (offset,)) for *_, offset in cases],
    )


def main() -> None:
    driver.set_active(Driver())
    op.backend_for = foreach.backend_for = lambda device_type: backend
    assert isinstance(backend.fill_rows, triton.JITFunction)
    counts = {}
    fills(4096)
    counts["first"] = kernels()
    fills(4096, seeds=(0, 1, 2, 16, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1))
    counts["seeds"] = kernels()
    fills(4096, stds=(1.0, 0.02, 0.5, 16.0, 1e-3, 1e4))
    counts["stds"] = kernels()
    for size in (8, 16, 4096, 4104, 2**20, 2**20 + 16, 2**24):
        fills(size)
    counts["sizes"] = kernels()
    fills(4096, shards=[LocalShard((2**40,), (offset,)) for offset in (0, 8, 16, 2**31, 2**32, 2**36 + 8)])
    counts["offsets"] = kernels()
    fills(4097)
    fills(4095, shards=[LocalShard((2**40,), (offset,)) for offset in (0, 1, 3, 2**31 + 1)])
    counts["odd sizes and offsets"] = kernels()
    before = kernels()
    for a, b in ((-5, 2), (-5, 1), (0, 5), (-5, 0)):  # split at integers of 32 and of 33 bits, multiples of 16 or not
        fastinit.trunc_normal_(torch.empty(4096), a=a, b=b, key=Key(1, 2))
    counts["splits of skew laws"] = kernels() - before
    before = kernels()
    lists([4096])
    counts["first list"] = kernels() - before
    lists([4096, 4097, 5000, 8192, 2**20 + 1] * 7)
    lists([4096], seeds=(0, 1, 16, 2**31, 2**32, 2**63, 2**64 - 1), offsets=(0, 1, 16, 2**31, 2**32 + 3))
    lists([4096], stds=(1.0, 0.5, 16.0, 1e-3, 1e4))
    counts["lists of any sizes, seeds, stds, offsets and lengths"] = kernels() - before
    lists([64, 1000, 1024, 2048, 5000])
    lists([64, 1024, 5000, 5000])  # where the tables lie modulo 16 would be another place, were it not padded
    counts["lists with shorter tensors"] = kernels() - before
    lists([1, 5, 4096, 8192], dtype=torch.bfloat16)
    counts["lists of another dtype"] = kernels() - before
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
