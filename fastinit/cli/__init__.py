"""The command line. Its commands are init.py, plan.py, verify.py and doctor.py, each with ``run(arguments)``.

<<<<<<< HEAD
source.py says what is filled, framework.py where it is a framework's model, and device.py where, distributed.py does it
under torchrun, table.py, digest.py, stopwatch.py, progress.py and memory.py tell of it. signals.py and process.py are the
=======
source.py says what is filled, framework.py where it is a framework's model, and device.py where. in_memory.py fills a model
in memory, distributed.py does it under torchrun, report.py, digest.py, stopwatch.py, progress.py and memory.py tell of it. signals.py and process.py are the
>>>>>>> wri16
ways in which a command ends.

Nothing but __main__.py, which has the options, may import from here. A new command is a module with ``run`` and its
options there.
"""
