"""Names: which law each parameter of a model gets.

walk.py finds parameters, ties and shards, and sizes.py the model's sizes; roles.py goes from a name to a role, rules.py from
a method and a role to a law. plan.py makes a plan in three steps: what holds of any model, what some rules give its
parameters, and what holds of any plan, by checks.py; planned.py is what is known after each, and tiles.py what a parameter
may get besides one law. The rules are scheme.py's: a method, and the pattern that each name matches, by matched.py;
modules.py asks all modules at once. By the plan fill.py fills a model and verify.py compares one, by comparison.py;
materialise.py gives it memory, filling.py carries laws out, and report.py says what was done. methods.py has the calls of
OLMo-core's ``InitMethod``; presets.py and skeleton.py are published architectures as data. shown.py is how names that others chose
are printed.

It stands on the fills (init, foreach.py) and imports no backend; integrations and the command line stand on it. A framework's
names are patterns in roles.py, a new method is a column in rules.py.
"""
