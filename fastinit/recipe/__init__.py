"""Recipes: a framework's own initialisation, recorded once by its laws, and filled anywhere.

tape.py is a mode in which every operator of torch is noted, by draws.py (which operators draw, from which law),
operators.py (what one does to its tensors), reading.py (what it makes) and running.py (where torch cannot run it);
storages.py holds what each storage holds, as values.py's values. hooks.py, shared.py and weightless.py are what of torch
is replaced meanwhile; what is recorded is put back by unchanged.py.
lifting.py makes laws of what is computed of drawn numbers, by way of those of intermediate.py; boxes.py and pieces.py
take a parameter apart into boxes, seen.py says what is to be seen there, and bind.py what each parameter is filled
with and whose numbers it has, which lie where places.py says: an entry of entries.py, with what history.py tells of
earlier fills; or a graph, graph.py's, that replay.py computes again, steps.py compares and expression.py writes down.
recipe.py is all entries of a model, stored.py its JSON; names.py and aliases.py map names, marks.py refuses what would
have the numbers of another rank, rules.py gives the parameters of a model their entries. The ways in are record.py, by
own.py (which method of a model is its initialisation), and keyed.py, by live.py, with known.py (which fills parameters
as they are drawn) and single.py (which need no binding).

It stands on ``model``, whose plans, fills and reports it uses; integrations, the command line and ``__init__`` may
import it. A rule for another formula is in lifting.py, another operator that draws in draws.py.
"""
