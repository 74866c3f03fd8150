"""``python -m bench micro`` and ``python -m bench report``."""

import argparse
import sys

import torch

from bench import micro, report, rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("micro", help="each fill against torch's own; appends rows")
    one.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    one.add_argument("--elements", type=int, default=2**24)
    one.add_argument("--repeats", type=int, default=15)
    one.add_argument("--dry", action="store_true", help="print the rows, and append none")
    commands.add_parser("report", help="write the README's tables from the rows on file")
    arguments = parser.parse_args()
    if arguments.command == "report":
        report.write()
        return 0
    found = micro.measure(torch.device(arguments.device), arguments.elements, arguments.repeats)
    for row in found:
        print(
            f"{row['fill']:24}{row['provider']:10}{row['dtype']:10}{row['ns_per_element']:>9} ns {row['gb_per_s']:>8} GB/s"
        )
    if not arguments.dry:
        print(f"appended to {rows.append('micro', found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
