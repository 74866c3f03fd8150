"""check_in_sync: do all ranks fill from the same key? One small all-gather, before a long job starts."""

from collections.abc import Iterable
from itertools import groupby

import torch
import torch.distributed as dist

from fastinit.generator import default_generator
from fastinit.stream import Key, canonical_name, stream_of

_SHOWN = 4  # differing values in a message; a job may have thousands of ranks


def check_in_sync(
    key: Key | int | None = None,
    *,
    generator: torch.Generator | None = None,
    names: Iterable[str] = (),
    group: "dist.ProcessGroup | None" = None,
) -> None:
    """Raise, on every rank, when the ranks do not agree on what they are about to fill.

    >>> model = torch.nn.Linear(8, 4)
    >>> check_in_sync(0, names=(name for name, _ in model.named_parameters()))  # on every rank

    Args:
        key: a ``Key``, or the seed of a whole model.
        generator: where keys are to come from; its state is compared and left as it is. With neither a key nor a
            generator it is the default one of the accelerator, or of the CPU where there is none.
        names: of the parameters, in any order. Pipeline stages have different ones: give the group of one stage.
        group: the ranks to compare; all of them without it. A rank outside the group has nothing to do.

    It is one all-gather of five 64-bit words a rank. Without a process group there is nothing to compare.

    Raises:
        RuntimeError: which of seed, stream, generator state and names differ, and on which ranks.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_rank(group) < 0:
        return
    if key is None and generator is None:
        generator = default_generator(torch.accelerator.current_accelerator(True) or torch.device("cpu"))
    seeded = key if isinstance(key, Key) else Key(key or 0)
    canonical = sorted(map(canonical_name, names))
    words = {
        "seed": seeded.seed,
        "stream": seeded.stream,
        "generator state": 0 if generator is None else stream_of(generator.get_state().numpy().tobytes()),
        "number of names": len(canonical),
        "names": stream_of("\n".join(canonical).encode()),
    }
    gathered = _all_gather(list(words.values()), group)
    ranks = dist.get_process_group_ranks(group)
    differences = [
        f"{what} is {_by_value(ranks, column)}"
        for what, column in zip(words, zip(*gathered, strict=True), strict=True)
        if len(set(column)) > 1
    ]
    if differences:
        raise RuntimeError("the ranks would not fill the same values: " + "; ".join(differences))


def _all_gather(words: list[int], group: "dist.ProcessGroup | None") -> list[list[int]]:
    """The 64-bit words of each rank of the group."""
    on_cpu = "gloo" in dist.get_backend(group) or "mpi" in dist.get_backend(group)
    device = torch.device("cpu") if on_cpu else torch.accelerator.current_accelerator(True)
    mine = torch.tensor([word - 2**64 if word >= 2**63 else word for word in words], device=device)
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everyone, mine, group)
    return [[word % 2**64 for word in row.tolist()] for row in everyone]


def _by_value(ranks: list[int], words: tuple[int, ...]) -> str:
    """Which ranks have which value; the value that most of them have comes first.

    >>> _by_value([0, 1, 2, 3], (7, 7, 5, 7))
    '7 on ranks 0-1, 3 and 5 on rank 2'
    """
    holders: dict[int, list[int]] = {}
    for rank, word in zip(ranks, words, strict=True):
        holders.setdefault(word, []).append(rank)
    most_first = sorted(holders.items(), key=lambda holder: -len(holder[1]))
    shown = [f"{word} on {_named(held_by)}" for word, held_by in most_first[:_SHOWN]]
    if len(holders) > _SHOWN:
        shown.append(f"{len(holders) - _SHOWN} other values on the other ranks")
    return " and ".join(shown)


def _named(ranks: list[int]) -> str:
    """The ranks, in runs: a rank less its place in the list is the same number all along a run."""
    runs = [[rank for _, rank in run] for _, run in groupby(enumerate(ranks), lambda placed: placed[1] - placed[0])]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(texts)
