"""Entry point of the console script ``bdistil``."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence

import typer
from rich.text import Text

from bdistil.cli import (
    ablate_command,
    bench_command,
    compare_command,
    doctor_command,
    export_command,
    inspect_command,
    pareto_command,
    predict_command,
    reproduce_command,
    search_command,
)
from bdistil.cli.display import console
from bdistil.errors import BdistilError, BdistilWarning, SpecError, told
from bdistil.store.durable import space_if_full
from bdistil.version import __version__

NO_MEMORY = (
    "the memory is not enough for this; lower space.ladder, teacher.options, batch sizes or the "
    "number of examples."
)

app = typer.Typer(
    help="Turn one large trained network into a progressive ensemble of small ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    search_command,
    inspect_command,
    doctor_command,
    export_command,
    predict_command,
    pareto_command,
    bench_command,
    ablate_command,
    compare_command,
    reproduce_command,
):
    command.register(app)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Turn one large trained network into a progressive ensemble of small ones."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; expected errors are one sentence and a non-zero exit status."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        check_arguments(sys.argv[1:])
        app()
    except BdistilError as error:
        console.print(Text.assemble(("Error: ", "bold red"), str(error)))
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("Stopped.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has gone, as in `bdistil students | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        known = explain_machine(error)
        console.print(Text.assemble(("Error: ", "bold red"), known or explain_fault(error)))
        sys.exit(2 if known else 3)


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what no argument means: an empty one would be taken for the current folder.

    Raises:
        SpecError: naming it.
    """
    for argument in arguments:
        if not argument or (argument.endswith("=") and argument.startswith("--")):
            raise SpecError(
                "an argument is empty, as of a variable that is not set; give it or leave it out."
            )
        if not argument.isascii() and argument.encode("utf-8", "replace").decode() != argument:
            raise SpecError(f"the argument {argument!r} is no text in UTF-8; rename what it names.")


def explain_machine(error: Exception) -> str:
    """What the machine lacks, in one sentence; empty if that is not the reason."""
    torchs = ("allocate memory", "Storage size calculation overflowed")
    if isinstance(error, MemoryError) or any(words in str(error) for words in torchs):
        return NO_MEMORY
    if isinstance(error, UnicodeEncodeError):
        return (
            f"the text {error.object[error.start : error.end]!r} cannot be written as "
            f"{error.encoding}; set PYTHONIOENCODING=utf-8, or correct names in the data."
        )
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        room = space_if_full(error)
        return f"the output cannot be written: {error.strerror}; {room}name another place."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{str(error.filename)!r}: {error.strerror}; check the path and its permissions."
    return ""


def explain_fault(error: Exception) -> str:
    """What nobody foresaw, in one sentence; its trace goes into a file for a report."""
    said = (
        f"bdistil failed in a way that it did not foresee ({type(error).__name__}: {told(error)})"
    )
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="bdistil-fault-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"bdistil {__version__}, {' '.join(sys.argv)}\n\n{trace}")
    except OSError:
        return f"{said}; its trace could not be written."
    return f"{said}; report it with the trace in {file.name}."


def _show_warning(message: Warning | str, category: type[Warning], *rest: object) -> None:
    """Our own warnings are one line; those of libraries are for developers (python -W)."""
    if issubclass(category, BdistilWarning):
        console.print(Text.assemble(("Note: ", "yellow"), str(message)))
