"""Places: where a local tensor lies in the logical one, and in memory.

geometry.py is the arithmetic of boxes, with ``LocalShard``; placements.py that of meshes; axes.py merges dimensions into loops:
these three are plain Python. memory.py finds tensors that share bytes, kinds.py those that are alike, storage.py says what of a
tensor can be filled, bits.py how two are compared; dtensor.py alone knows torch.distributed.tensor, described.py brings them
together for one tensor, and sync.py compares the ranks' keys.

Of fastinit only keys (stream.py, generator.py) are imported here; fills and models know of places, and not the other
way round. A new way to split tensors is arithmetic in placements.py, and one line in dtensor.py.
"""
