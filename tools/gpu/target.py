"""Run by compute-sanitizer and ncu: fills of every kernel, then compared with what they must be.

python -m gpu.target gpu.here 65541
"""

import importlib
import sys

from gpu import tree

tree.use()

import torch  # noqa: E402

import fastinit  # noqa: E402
from fastinit import Key  # noqa: E402
from fastinit.fill import Fill  # noqa: E402
from gpu.fills import LAW  # noqa: E402
from gpu.layouts import LAYOUTS, listed  # noqa: E402
from gpu.truth import check  # noqa: E402


def main(on: str, elements: int) -> None:
    here = importlib.import_module(on).here()
    key, filled = Key.of("target", 1), []
    for dtype in here.sizes.dtypes[:2]:
        for layout in LAYOUTS.values():
            _, tensor, shard = layout(elements, dtype, here.device)
            fastinit.trunc_normal_(tensor, *LAW.parameters(), key=key, shard=shard)
            filled.append((tensor, shard))
        laid = listed(elements, dtype, here.device)
        tensors, shards = [tensor for _, tensor, _ in laid], [shard for *_, shard in laid]
        fastinit.foreach_fill_(tensors, LAW, keys=[key] * len(laid), shards=shards)
        filled += zip(tensors, shards, strict=True)
    torch.cuda.synchronize()
    for tensor, shard in filled:
        check(here, tensor, Fill(LAW, key, shard))
    print(f"{len(filled)} tensors are right")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
