"""Give a file of rows the columns of today: no value changes, and new columns are empty."""

import argparse

from bench import rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=rows.COLUMNS)


def run(arguments: argparse.Namespace) -> int:
    rows.migrate(arguments.name)
    return 0
