"""The Triton kernels, installed as ``fastinit.kernels``: ``@triton.jit`` code, and the tuple in which it passes a law on."""
