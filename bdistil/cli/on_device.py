"""``bdistil predict`` where numpy and onnxruntime are all there is; other commands name the extra.

The options are those of :mod:`bdistil.cli.predict_command`, but for code of the user's, which
needs torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bdistil.cli.failures import run_to_the_end
from bdistil.cli.predictions import write_predictions
from bdistil.errors import MissingDependencyError
from bdistil.version import __version__

ABOUT = """Run progressive ensembles that were found elsewhere.

Searching for them, and every other command, needs: pip install 'bdistil[search]'."""
COMMAND = "predict"


def main() -> None:
    """Run the command; expected errors are one sentence and a non-zero exit status."""
    run_to_the_end(_run, _say)


def parser() -> argparse.ArgumentParser:
    """Of the command line on a device."""
    whole = argparse.ArgumentParser(
        "bdistil", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(COMMAND, help="Predict the rows of a file, as CSV.")
    command.add_argument("ensemble", help="A folder that `bdistil export --onnx` wrote.")
    command.add_argument("data", type=Path, help="NPZ or NPY; tables with 'bdistil[table]'.")
    command.add_argument("--stages", type=int, help="Students to run. Default: all.")
    command.add_argument("--deadline", help="Best answers by then, for each 4,096 rows: 5ms.")
    command.add_argument("--exit", help="Rows leave once sure, by a score such as confidence.")
    command.add_argument("--budget", help="Mean FLOPs of a row, or such as 50%% of all stages.")
    command.add_argument("--proba", action="store_true", help="The probability of every class.")
    command.add_argument("--ask-teacher", action="store_true", help="Unsure rows go to it.")
    command.add_argument("--keep", action="append", help="A column to write before the answers.")
    command.add_argument("--out", type=Path, help="CSV file. Default: the terminal.")
    return whole


def _run() -> None:
    arguments = sys.argv[1:] or ["--help"]
    if not arguments[0].startswith("-") and arguments[0] != COMMAND:
        raise MissingDependencyError(
            f"`bdistil {arguments[0]}` needs more than running ensembles does; install it with: "
            "pip install 'bdistil[search]'."
        )
    asked = vars(parser().parse_args(arguments))
    write_predictions(**asked, say=lambda sentence: _say("", sentence))


def _say(word: str, sentence: str) -> None:
    print(f"{word}{sentence}", file=sys.stderr)
