"""What ``bdistil predict`` does, however its options are read; numpy alone, as devices have."""

from __future__ import annotations

import csv
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bdistil.errors import SpecError
from bdistil.export.known_labels import Comparison
from bdistil.export.predict import Predictions, predict_file
from bdistil.store.durable import check_local, check_place, disk_errors, is_special, write_atomic
from bdistil.store.remote import WorkingCopy

Say = Callable[[str], None]


def write_predictions(
    ensemble: str,
    data: Path,
    *,
    out: Path | None,
    say: Say,
    stages: int | None,
    deadline: str | None,
    exit: str | None,
    budget: str | None,
    proba: bool,
    keep: Sequence[str] | None,
    ask_teacher: bool,
) -> None:
    """Predict the rows of a file or the files of a folder, as CSV.

    Args:
        ensemble: a saved ensemble or run, a path or URI.
        data: the file or folder.
        out: the CSV file; None for the terminal.
        say: prints a sentence beside the answers.
        stages, deadline, exit, budget, proba, keep, ask_teacher: see
            :func:`~bdistil.export.predict.predict_file`.

    Raises:
        BdistilError: for bad input.
    """
    if out is not None and out.exists() and out.samefile(data):
        raise SpecError(f"--out is {str(out)!r}, the data themselves; name another file.")
    if out is not None:
        check_local(out)
        if not is_special(out):
            check_place(Path(os.path.realpath(out)))
    copy = WorkingCopy(ensemble)
    copy.fetch(leave_out=("teacher", "students", "open", "tune"))
    predictions = predict_file(
        copy.folder,
        data,
        stages,
        deadline=deadline,
        exit=exit,
        budget=budget,
        every_class=proba,
        keep=keep or (),
        ask_teacher=ask_teacher,
        tell=say,
    )
    text = as_csv(predictions.header, predictions.rows)
    if out is None:
        sys.stdout.write(text)
    elif is_special(out):
        _write_into(out, text)
    else:
        write_atomic(Path(os.path.realpath(out)), text.encode())  # a link stays one
    ways = (deadline, exit, budget)
    for sentence in _sentences(predictions, data, ask_teacher, any(ways)):
        say(sentence)


def _write_into(out: Path, text: str) -> None:
    """Write into a pipe or a device, such as /dev/stdout, which cannot be replaced.

    Raises:
        SpecError: if nobody reads from it, for whom one would wait without end.
        CheckpointError: if it cannot be written.
    """
    with disk_errors(out):
        try:
            opened = os.open(out, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            raise SpecError(
                f"--out is {str(out)!r}, a pipe that nobody reads from; begin what reads it first."
            ) from None
        os.set_blocking(opened, True)
        with os.fdopen(opened, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)


def _sentences(predictions: Predictions, data: Path, ask_teacher: bool, stopped: bool) -> list[str]:
    """What is known beside the answers."""
    said, rows = [], len(predictions.rows)
    if stopped and rows:
        least, most = min(predictions.stages), max(predictions.stages)
        mean = sum(predictions.stages) / rows
        reached = f"{least}" if least == most else f"{least} to {most}, {mean:.2f} in the mean"
        said.append(f"students that answered a row: {reached}")
    if ask_teacher:
        share = predictions.asked / max(1, rows)
        said.append(f"the teacher answered {share:.1%} of the rows")
    if predictions.comparison is not None:
        said += _compared(predictions.comparison, data, rows)
    return said


def _compared(comparison: Comparison, data: Path, rows: int) -> list[str]:
    """How good the answers are, and which labels cannot tell."""
    said, (metric, name, known, left_out) = [], comparison
    if left_out:
        remedy = "" if known else "; correct the labels to see how good answers are"
        said.append(f"not compared with in {data}: {left_out}{remedy}")
    if metric is None and known:
        said.append(f"{name} says nothing of the labels in {data}, which are all alike")
    if metric is not None:
        which = "" if known == rows else f" (known in {known:,} of {rows:,} rows)"
        said.append(f"{name} on the labels in {data}{which}: {metric:.4f}")
    return said


def as_csv(header: list[str], rows: list[list[object]]) -> str:
    """Header and rows as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
