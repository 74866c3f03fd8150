"""A key from a torch generator, which is advanced by an amount that no tensor, shard or rank has a say in."""

import torch

from fastinit.stream import Key, stream_of

_WORD = 2**64
_CUDA_STEP = 4  # a CUDA generator's offset must stay a multiple of 4


def default_generator(device: torch.device) -> torch.Generator:
    """The generator that torch's own random ops use on this device."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.init()  # the default generators exist only from then on
        return torch.cuda.default_generators[index]
    return torch.default_generator


def draw_key(generator: torch.Generator) -> Key:
    """The next key of the generator. It moves the generator on, without a device sync.

    A CPU generator gives two random 64-bit numbers. A CUDA generator is itself a seed and an offset: both are read on the
    host, and the offset is hashed, so that the values share no bits with those of torch's own ops under the same seed.
    """
    device = generator.device
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "generator: expected an explicit key under CUDA graph capture, where no generator is read"
            )
        offset = generator.get_offset()
        generator.set_offset(offset + _CUDA_STEP)
        return Key(generator.initial_seed() % _WORD, stream_of(b"generator offset %d" % offset))
    if device.type != "cpu":
        raise ValueError(f"generator: expected one of the CPU or of CUDA, got one of {device}")
    stream, seed = torch.empty(2, dtype=torch.int64, device="cpu").random_(-(2**63), None, generator=generator).tolist()
    return Key(seed % _WORD, stream % _WORD)
