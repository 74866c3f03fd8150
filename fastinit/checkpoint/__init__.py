"""A model's first checkpoint as files, in the forms that its users load.

live.py is a model on the meta device with its own laws, of a framework, a recipe or, by preset.py, a preset's data. The tensors
of its files are parts of the live ones: layout.py says which, published.py asks the framework, and followed.py sees what it
does. contents.py says what a checkpoint holds by that, document.py has it as JSON, and parts.py takes a tensor apart.
writing.py writes what forms.py describes: hf.py, Hugging Face's safetensors with an index, by index.py and shard_file.py, and
dcp.py, torch's own form of it. place.py holds its name, resume.py goes on with what a stopped run left, and ranks.py are the
processes that write it together. opened.py opens a checkpoint that anybody wrote: reading.py reads safetensors and
reading_dcp.py torch's form, of which it runs nothing. proof.py says what is wrong with what lies there, compared.py which bits
are; survey.py looks at all tensors, with statistics.py and histogram.py beside their laws. files.py is for what lies beside
tensors. errors.py: how what asks for it ends early.

The command line and __init__ may import from here; it imports from recipe/ downwards.
"""
