"""Benchmarks: ``python -m bench micro`` appends rows to bench/results, ``python -m bench report`` writes the README's tables."""
