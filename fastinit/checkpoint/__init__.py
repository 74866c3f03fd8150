"""A model's first checkpoint as files, in the forms that its users load.

contents.py says what it holds, and document.py has that as JSON. writing.py writes safetensors with an index, as Hugging
Face has them, and goes on with what a stopped run left by resume.py; place.py holds its name, index.py, shard_file.py and
files.py are its parts. proof.py compares what lies there with what it says. errors.py: how what asks for it ends early.

The command line and __init__ may import from here; it imports from recipe/ downwards.
"""
