"""A model's first checkpoint as files, in the forms that its users load.

live.py is a model on the meta device with its own laws, of a framework, a recipe or, by preset.py, a preset's data. The tensors
of its files are parts of the live ones: layout.py says which, published.py asks the framework, and followed.py sees what it does.
contents.py says what a checkpoint holds by that, and document.py has it as JSON. writing.py writes safetensors with an index, as Hugging
Face has them, and goes on with what a stopped run left by resume.py; place.py holds its name, index.py, shard_file.py and
files.py are its parts. proof.py compares what lies there with what it says. errors.py: how what asks for it ends early.

The command line and __init__ may import from here; it imports from recipe/ downwards.
"""
