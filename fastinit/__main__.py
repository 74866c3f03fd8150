"""The command line: ``python -m fastinit init``, ``plan``, ``verify``, ``report`` and ``doctor``."""

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from math import isfinite
from typing import NoReturn

from fastinit.checkpoint.errors import Stopped, UsageError
from fastinit.checkpoint.files import is_config, problem_text
from fastinit.cli.process import drop_output, ended_alone, flush, occupy_standard_streams, quieten, run_and_end
from fastinit.cli.signals import leave_interrupts_to_the_system, stoppable, stopped_at_once
from fastinit.model.presets import presets
from fastinit.model.rules import METHODS
from fastinit.model.shown import shown
from fastinit.version import STREAM_VERSION, __version__

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}
_MOST_SHARDS = 1024  # a fill each, twice for every tensor: beyond, the time goes into calls and says nothing new


def parser() -> ArgumentParser:
    """All subcommands and their options; each is carried out by ``run`` of the module of its name in fastinit.cli."""
    top = ArgumentParser(prog="fastinit", description="Weights from (seed, parameter name, global index) alone.")
    top.add_argument("--version", action="version", version=f"fastinit {__version__}, stream version {STREAM_VERSION}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = commands.add_parser(
        "init",
        help="fill the weights of a model",
        description="Fill the weights of a model, every tensor by name; print a digest of all bits.",
        epilog=_presets_text(),
        formatter_class=RawDescriptionHelpFormatter,
    )
    _add_source(init)
    init.add_argument("--seed", type=_seed, default=0, metavar="N", help="in [0, 2**64) (%(default)s)")
    init.add_argument("--device", metavar="NAME", help="cuda, cuda:1, cpu, ... (the best there is)")
    init.add_argument("--compare", action="store_true", help="time torch.nn.init on the same tensors too")
    init.add_argument(
        "--shards", type=_shards, metavar="N", help="fill each tensor again as N shards, and compare the bits"
    )
    init.add_argument("--no-digest", dest="digest", action="store_false", help="do not hash the weights")

    init.add_argument("--tp", type=_count, default=1, metavar="N", help="tensor parallel degree, under torchrun")
    init.add_argument("--ep", type=_count, default=1, metavar="N", help="expert parallel degree, under torchrun")
    init.add_argument(
        "--out",
        type=_path,
        metavar="DIR",
        help="write a checkpoint of all layers to this new folder, a tensor at a time",
    )
    init.add_argument(
        "--format",
        choices=("hf", "dcp", "olmo"),
        default="hf",
        help="safetensors of transformers, torch.distributed.checkpoint, or OLMo-core's of it (%(default)s)",
    )
    init.add_argument(
        "--shard-size", type=_bytes, metavar="SIZE", help="the most bytes of the tensors of a file of safetensors (5GB)"
    )
    init.add_argument(
        "--timeout",
        type=_count,
        default=60,
        metavar="SECONDS",
        help="with --out, under torchrun: how long a rank that says nothing is waited for (%(default)s)",
    )
    init.add_argument(
        "--resume", action="store_true", help="with --out: go on with what a stopped run left, once it is proved"
    )

    verify = commands.add_parser(
        "verify",
        help="is a checkpoint what its metadata says, or what a source gives?",
        description="Regenerate every tensor of a checkpoint from its metadata alone, or of a model that --against names, and "
        "compare the bits. Under torchrun the ranks share the tensors. Nothing that a checkpoint holds is run: of a pickle in it, "
        "as torch.distributed.checkpoint has, only the few types are taken that metadata and tensors are made of.",
    )
    verify.add_argument("directory", type=_path, metavar="DIR", help="a checkpoint in any form that init writes")
    _add_sample(verify)
    verify.add_argument(
        "--against",
        type=_source,
        metavar="SOURCE",
        help="compare a checkpoint that anybody wrote, safetensors or of torch.distributed.checkpoint, with the init of a source "
        "as init takes it: which tensors are still at their init?",
    )
    _add_rules(verify)
    verify.add_argument("--seed", type=_seed, metavar="N", help="with --against (0)")
    verify.add_argument(
        "--layers", type=_count, metavar="N", help="with --against, the first N layers of a preset (all)"
    )

    report = commands.add_parser(
        "report",
        help="a page that shows every tensor of a checkpoint beside its law",
        description="Look at every tensor of a checkpoint, and write a page of HTML, in one file: statistics with their "
        "standard errors, histograms beside the laws' densities, totals and the digest.",
    )
    report.add_argument("directory", type=_path, metavar="DIR", help="a checkpoint in any form that init writes")
    report.add_argument(
        "-o", "--output", type=_path, default="report.html", metavar="FILE", help="the page (%(default)s)"
    )
    _add_sample(report)

    plan = commands.add_parser(
        "plan",
        help="the law of each parameter, without filling it",
        description="Print what each parameter would be filled with.",
        epilog=_presets_text(),
        formatter_class=RawDescriptionHelpFormatter,
    )
    _add_source(plan)
    plan.add_argument("--save", type=_path, metavar="FILE", help="store the model's own laws as JSON")
    plan.add_argument("--diff", type=_path, metavar="FILE", help="print what differs from laws that --save has stored")

    commands.add_parser(
        "doctor",
        help="is all well on this machine?",
        description="Versions, devices, backends, known answers, and every backend against the reference, bit for bit.",
    )
    return top


def _add_sample(command: ArgumentParser) -> None:
    """The options of a quick look."""
    command.add_argument("--sample", type=_count, metavar="N", help="read N random parts of each tensor only")
    command.add_argument(
        "--sample-seed", type=_seed, metavar="N", help="what the parts are chosen by (another each time; it is printed)"
    )


def _presets_text() -> str:
    return "presets:\n" + "\n".join(f"  {p.name:15} {p.model}, {p.parameters:,}" for p in presets().values())


def _add_source(command: ArgumentParser) -> None:
    """The options that say which model it is, and by which laws."""
    command.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        type=_source,
        help="a preset, a config.json of transformers or its folder, or package.module:function, which builds any model",
    )
    _add_rules(command)
    command.add_argument("--dtype", type=_dtype, metavar="NAME", help="fp32, bf16, fp16, fp64 (as the model has it)")
    command.add_argument(
        "--layers",
        type=_count,
        metavar="N",
        help="the first N layers of a preset (all; in memory, what fits in 60 %% of it)",
    )


def _add_rules(command: ArgumentParser) -> None:
    """The options that say by which laws a model is filled."""
    command.add_argument(
        "--rules",
        "--method",
        choices=("own", *METHODS),
        help="the laws that the model's own initialisation has, or a method's (own)",
    )
    command.add_argument("--std", type=_std, metavar="X", help="the std that a method scales (0.02)")
    command.add_argument("--recipe", type=_path, metavar="FILE", help="the laws that plan --save has stored")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command, and return its exit code; whatever ends it early is told in one line.

    0 when all is well, 1 when a check failed, 2 for a request that cannot be met and for what the system refuses, 128 and
    the signal's number for SIGINT, SIGTERM and SIGHUP, 141 when nobody reads the output any more, as for SIGPIPE.
    """
    with stoppable():
        return _ended(arguments)


def _ended(arguments: Sequence[str] | None) -> int:
    said = "fastinit"
    try:
        try:
            given = parser().parse_args(arguments)
            said = f"fastinit {given.command}"
            with stopped_at_once(said):
                module = import_module(f"fastinit.cli.{given.command}")
            return int(module.run(given))
        finally:
            flush(sys.stdout)
    except UsageError as error:
        return _told(2, f"{said}: error: {error}")
    except KeyboardInterrupt as stop:
        stop = stop if isinstance(stop, Stopped) else Stopped()
        return ended_alone(_told(128 + stop.number, f"{said}: {stop}"))
    except BrokenPipeError:
        drop_output()
        return ended_alone(141)
    except OSError as error:
        drop_output()
        where = f"{shown(error.filename)}: " if error.filename else ""
        return ended_alone(_told(2, f"{said}: error: {where}{problem_text(error)}"))


def _told(code: int, line: str) -> int:
    """The code, once the line is written; nobody may be there to read it."""
    if sys.stderr is not None and not sys.stderr.closed:
        shown_line = "".join(
            c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in line
        )  # not as a terminal's command
        with suppress(OSError):
            print(shown_line, file=sys.stderr, flush=True)
    return code


def command() -> NoReturn:
    """What the installed command and ``python -m fastinit`` run."""
    occupy_standard_streams()
    quieten()
    leave_interrupts_to_the_system()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for a path that the terminal's encoding has no letters for
    try:
        run_and_end(main)
    except Stopped as late:  # when all is done
        sys.exit(128 + late.number)


def _seed(given: str) -> int:
    number = _integer(given)
    if not 0 <= number < 2**64:
        raise ArgumentTypeError(f"expected an integer in [0, 2**64), got {given}")
    return number


def _source(given: str) -> str:
    if given in presets() or ":" in given or is_config(given):
        return given
    near = get_close_matches(given, presets(), n=1)
    question = f": did you mean {near[0]}?" if near else ""
    raise ArgumentTypeError(
        f"expected one of {', '.join(presets())}, a config.json of transformers or its folder, or package.module:function, "
        f"got {given!r}{question}"
    )


def _path(given: str) -> str:
    if not given:
        raise ArgumentTypeError("expected the path of a folder, got ''")
    return given


def _shards(given: str) -> int:
    number = _count(given)
    if number > _MOST_SHARDS:
        raise ArgumentTypeError(f"expected at most {_MOST_SHARDS:,}, got {given}")
    return number


def _count(given: str) -> int:
    number = _integer(given)
    if number < 1:
        raise ArgumentTypeError(f"expected an integer >= 1, got {given}")
    return number


def _bytes(given: str) -> int:
    """The bytes of a size as Hugging Face has it: 5GB, 500MB, 2GiB, or a number."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([KMGT])(I?)B)?", given.upper())
    number = int(float(found[1]) * (1024 if found[3] else 1000) ** " KMGT".index(found[2] or " ")) if found else 0
    if number < 1:
        raise ArgumentTypeError(f"expected a size like 5GB, 500MB or 2GiB, got {given!r}")
    return number


def _integer(given: str) -> int:
    try:
        return int(given, 0)
    except ValueError:
        raise ArgumentTypeError(f"expected an integer, got {given!r}") from None


def _std(given: str) -> float:
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not (isfinite(number) and number >= 0):
        raise ArgumentTypeError(f"expected a finite number >= 0, got {given!r}")
    return number


def _dtype(given: str) -> str:
    name = _DTYPES.get(given, given)
    if name not in _DTYPES.values():
        raise ArgumentTypeError(f"expected one of {', '.join(_DTYPES)}, got {given!r}")
    return name


if __name__ == "__main__":
    command()
