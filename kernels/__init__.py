"""The Triton kernels, installed as ``fastinit.kernels``: only ``@triton.jit`` code, and no import but triton's."""
