"""Frameworks whose own initialisation fastinit takes over; each module imports its framework only when it is used.

olmo_core.py is ``patched``, olmo_core_internals.py what it relies on; session.py is a model on its way through such an
initialisation, seen on a tape, and normalize.py divides weights by their norms to the same bits on any mesh. They stand
on the recipe wing, and nothing of fastinit may import from here. A new framework is a file, with a test against the real
package.
"""
