"""Benchmarks: `python -m bench SUBCOMMAND` appends rows to bench/results, and writes the tables and plots from them."""
