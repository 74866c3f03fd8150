"""The check of a machine with a GPU (tools/gpu_check.py): what it runs, and how.

tree.py makes the packages of this tree importable where nothing is installed. here.py says where a step runs, and how large
it is. steps/ holds one module a step: its ``cases(here)`` are calls, each of which returns what it found, or raises.
runner.py runs them in processes of their own, within budgets; rows.py writes what they found, report.py tells it. truth.py
compares a filled tensor with the CPU's backend and with the reference; layouts.py makes the tensors.

A step uses torch and torch.cuda as anybody does. tests/gpu_standin.py takes the place of both where there is no GPU: its
here() is small, its torch.cuda is a stand-in, and its kernels are compiled, and executed by the PTX machine of tests/ptx.
"""
