"""The exceptions that bdistil raises on purpose.

Each message is one sentence that names the field or file, the value found and the remedy; the
command line prints it without a traceback and exits with status 2.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

LONG_WORD, LONG_SENTENCE = 400, 1_500
"""Characters from which on the middle of a word or sentence is left out."""


class BdistilError(Exception):
    """Base of every error a caller can act upon."""

    def __str__(self) -> str:
        """The sentence, without most of a cell or name of thousands of characters that it holds."""
        words = re.sub(
            rf"\S{{{LONG_WORD},}}", lambda word: _middle_out(word[0], 300), super().__str__()
        )
        return words if len(words) <= LONG_SENTENCE else _middle_out(words, LONG_SENTENCE)


def _middle_out(text: str, length: int) -> str:
    kept = length // 2
    return f"{text[:kept]}...{text[-kept:]}"


class SpecError(BdistilError):
    """The search space is malformed: unknown key, wrong type or value out of range."""


class DataError(BdistilError):
    """A data set is missing, unreadable or unfit (NaN, one class, wrong columns)."""


class TeacherError(BdistilError):
    """A teacher cannot be built or does not fit the data (width, missing logits)."""


class CheckpointError(BdistilError):
    """A run directory, student or ensemble on disk is missing, damaged or of another spec."""


class ClusterError(BdistilError):
    """Ray cannot be reached or lacks the resources that one trial asks for."""


class SearchError(BdistilError):
    """A search cannot go on, for example because every trial fails."""


class MissingDependencyError(BdistilError):
    """An optional package is needed; the message names the extra that installs it."""


class BdistilWarning(UserWarning):
    """Something a user should know that does not stop the work."""


FOREIGN = (Exception, SystemExit)
"""What code that is not ours may raise: anything, and it may try to end the program."""


def is_ours(code: Any) -> bool:
    """Whether a class or function is bdistil's own, so that what it raises is bdistil's fault."""
    return str(getattr(code, "__module__", "")).startswith("bdistil.")


def told(error: BaseException) -> str:
    """What an error of foreign code says, in one line of at most 200 characters."""
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({error.code!r}))"
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= 200 else text[:197] + "...").rstrip(".")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'mlp'?`` for the known name most like a wrong one; empty if none is."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def suggest(name: str, known: Iterable[str]) -> str:
    """:func:`did_you_mean`, and all that is known."""
    known = list(known)
    return f"{did_you_mean(name, known)} known: {', '.join(known) or 'none'}".lstrip()
