"""``python tests/example_ranks.py FILE RANKS FOLDER``: an example in that folder, on each of the ranks that torchrun would start.

What it imports is imported once, before the ranks are forked. Of one rank none is forked, as without torchrun.
"""

import ast
import os
import runpy
import socket
import sys
import traceback
import warnings

# What frameworks tell of themselves, by the start of the message.
NOT_OURS = (
    ("`is_gradient_checkpointing` is deprecated", FutureWarning),  # peft asks transformers by its former name
    ("When using expert parallelism and tensor parallelism", UserWarning),  # its norm without a GPU knows no other way
    ("full scope is deprecated", UserWarning),  # Megatron-core's own default
    ("DTensor random operators may not have complete support", UserWarning),  # torch by itself, without a GPU
)


def main() -> int:
    file, ranks, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read(), file)
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(tree, file, "exec"), {"__name__": "imports"})
    os.chdir(folder)
    sys.argv = [file]
    if ranks == 1:
        return _run(file)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(ranks)}
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            os._exit(_run(file))
        children.append(child)
    failed = [os.waitpid(child, 0)[1] != 0 for child in children]
    return int(any(failed))


def _run(file: str) -> int:
    """The exit code, when all output is written."""
    warnings.simplefilter("error")
    for message, category in NOT_OURS:
        warnings.filterwarnings("ignore", message, category)
    try:
        runpy.run_path(file, run_name="__main__")
    except BaseException:
        print(f"rank {os.environ.get('RANK', 0)}:\n{traceback.format_exc()}", file=sys.stderr)
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    code = main()
    print(f"{sum(os.times()[:4]):6.2f} s of CPU")  # of all ranks
    sys.exit(code)
