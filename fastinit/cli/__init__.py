"""The command line. Its commands are init.py, plan.py, verify.py, report.py and doctor.py, each with ``run(arguments)``.

source.py says what is filled, framework.py where it is a framework's model, and device.py where. in_memory.py fills a model
in memory, out.py writes it as files, and distributed.py does either under torchrun, by splits.py and with watch.py. table.py,
digest.py, stopwatch.py, progress.py and memory.py tell of it. A report is what described.py says, as the page that rendered.py
makes of the files in page/; sampled.py is a quick look. signals.py and process.py are the ways in which a command ends.

Nothing but __main__.py, which has the options, may import from here. A new command is a module with ``run`` and its
options there.
"""
