"""``python -m bench SUBCOMMAND``; see ``--help``, and each subcommand's own."""

import argparse
import sys

from bench import micro, model, rows, sass, sharded

COMMANDS = {"micro": micro, "sharded": sharded, "model": model, "sass": sass}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        help_line = module.__doc__.partition("\n")[0]
        command = commands.add_parser(name, help=help_line, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    migrate = commands.add_parser("migrate", help="give a file of rows the columns of today")
    migrate.add_argument("name", choices=rows.COLUMNS)
    migrate.set_defaults(run=lambda arguments: rows.migrate(arguments.name))
    arguments = parser.parse_args()
    return arguments.run(arguments) or 0


if __name__ == "__main__":
    sys.exit(main())
