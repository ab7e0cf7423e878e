"""How a command ends that fails: one sentence on the error stream and an exit status."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence

from bdistil.errors import BdistilError, BdistilWarning, SpecError, told
from bdistil.interrupt import STATUS, STOPPED, remembered
from bdistil.store.durable import space_if_full
from bdistil.version import __version__

Say = Callable[[str, str], None]
"""Prints a word of warning, which may be empty, and a sentence."""

NO_MEMORY = (
    "the memory is not enough for this; lower space.ladder, teacher.options, batch sizes or the "
    "number of examples."
)


class NotOfTheTerminal(Exception):  # noqa: N818
    """Carries an error that typer would end in silence or with its own word."""


CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What makes a terminal do something, or turns the order of what it shows."""


def printable(text: str) -> str:
    """Text that may hold names out of files, without what a terminal would obey."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def run_to_the_end(command: Callable[[], object], say: Say) -> None:
    """Run a command; expected errors are one sentence and a non-zero exit status."""
    say = _if_heard(say)
    warnings.showwarning = _saying_warnings(say)
    try:
        check_arguments(sys.argv[1:])
        with remembered():
            _run(command)
    except BdistilError as error:
        say("Error: ", str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        say("", STOPPED)
        sys.exit(STATUS)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():  # as in `bdistil students | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        known = explain_machine(error)
        say("Error: ", known or explain_fault(error))
        sys.exit(2 if known else 3)


def _run(command: Callable[[], object]) -> None:
    """Run it; what typer did not get to see is raised as what it is."""
    try:
        command()
    except NotOfTheTerminal as carrier:
        raise (carrier.__cause__ or carrier) from None


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
            with contextlib.suppress(UnicodeError):
                text = os.fsencode(argument).decode()
                raise SpecError(
                    f"the argument {text!r} is in UTF-8, but Python was told to read "
                    f"{sys.getfilesystemencoding()}; set PYTHONUTF8=1 or a UTF-8 locale."
                )
            raise SpecError(f"the argument {argument!r} is no text in UTF-8; rename what it names.")


def nobody_reads() -> bool:
    """Whether the output is a pipe or a connection whose other end has gone."""
    look = select.poll()
    try:
        look.register(sys.stdout.fileno(), select.POLLERR)
        return bool(look.poll(0))
    except (OSError, ValueError):  # it is none at all
        return False


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
    if isinstance(error, ConnectionError):  # of what, only the trace can tell
        return ""
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


def _if_heard(say: Say) -> Say:
    """The same, which does not fail where nothing can be said: the exit status still tells."""

    def speak(word: str, sentence: str) -> None:
        with contextlib.suppress(OSError):
            say(word, printable(sentence))

    return speak


def _saying_warnings(say: Say) -> Callable[..., None]:
    """Our own warnings are one line; those of libraries are for developers (python -W)."""

    def show(message: Warning | str, category: type[Warning], *rest: object) -> None:
        if issubclass(category, BdistilWarning):
            say("Note: ", str(message))

    return show
