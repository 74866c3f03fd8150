"""Numbers: from a distribution to the fp32 constants of a kernel. Plain Python, without torch.

distributions.py describes the laws, transformed.py what is made of them; lowering.py, with interpolated.py for some regimes,
turns one into the numbers of lowered.py, which every backend takes; reach.py proves which bounds need no clamp; formats.py
rounds; moments.py tells what numbers of a law are like; normal.py, interpolation.py and quantile_table.py are the mathematics.

Nothing of fastinit is imported here; fills, backends, models and what stands on them may import from here. A new law is
described in distributions.py and lowered in lowering.py; a new regime is a promise that every backend must keep.
"""
