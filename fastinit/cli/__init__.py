"""The command line. Its commands are init.py, plan.py, verify.py, report.py and doctor.py, each with ``run(arguments)``.

source.py says what is filled, framework.py where it is a framework's model, and device.py where. in_memory.py fills a model
in memory, distributed.py does it under torchrun, table.py, digest.py, stopwatch.py, progress.py and memory.py tell of it.
out.py writes a checkpoint instead, with splits.py for what ranks hold and watch.py for ranks that are lost. A report is what
described.py says, rendered.py as a page of the files in page/. signals.py and process.py are the ways in which a command ends.

Nothing but __main__.py, which has the options, may import from here. A new command is a module with ``run`` and its
options there.
"""
