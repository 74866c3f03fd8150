"""A driver for Triton on a machine without a GPU: it compiles for sm_90, or another target, and launches nothing.

from triton.runtime import driver
driver.set_active(Driver())
"""

import torch
from triton.backends.compiler import GPUTarget

SM_90 = GPUTarget("cuda", 90, 32)


class Launcher:
    """Takes a launch, and does nothing."""

    def __init__(self, *arguments, **options):
        pass

    def __call__(self, *arguments, **options):
        pass


class Driver:
    """What triton.runtime.driver.active is asked for, in Triton 3.6 to 3.8."""

    class utils:
        @staticmethod
        def load_binary(*arguments):
            return 0, 0, 32, 0, 1024

        @staticmethod
        def get_device_properties(device):
            return {"max_shared_mem": 2**17}

    launcher_cls = Launcher

    def __init__(self, target=SM_90):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0

    def get_active_torch_device(self):
        return torch.device("cpu")
