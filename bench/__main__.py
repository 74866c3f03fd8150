"""``python -m bench SUBCOMMAND``: measure, and write what was measured; each has a ``--help``."""

import argparse
import importlib
import sys

COMMANDS = {
    "all": "every benchmark, then the report",
    "micro": "one tensor: host time, sizes, dtypes, layouts, extra memory, against torch and the memset",
    "sharded": "one sharded weight by the number of ranks: time, traffic, memory",
    "model": "a model of many tensors: tensors a second, host time",
    "scale": "whole models by the number of their parameters: the host's time for each",
    "live": "a live initialisation of many small matrices: what keyed() adds to each",
    "sass": "instructions an element by class, compiled without a GPU",
    "report": "the README's tables, bench/RESULTS.md and the plots, from the rows on file",
    "migrate": "give a file of rows the columns of today",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="SUBCOMMAND")
    # Only the module that is asked for is imported: none needs what another does.
    asked = next((argument for argument in sys.argv[1:] if argument in COMMANDS), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == asked:
            module = importlib.import_module(f"bench.{name}")
            command.description = module.__doc__
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
