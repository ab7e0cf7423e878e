"""Series of the UEA and UCR archives in their text format .ts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError
from bdistil.optional import require

if TYPE_CHECKING:
    import pandas as pd

Series = NDArray[np.float32]
LABEL, UNKNOWN = "label", "?"


class Archive(NamedTuple):
    """The content of one .ts file.

    Attributes:
        series: float32 (steps, channels) each; steps may differ, and values may be missing (NaN).
        labels: of each series, as written; None where it is `?`, or all of them.
        class_names: in the order of the file's header; None if labels are numbers or not there.
        labelled: whether there are labels.
    """

    series: list[Series]
    labels: list[str | None]
    class_names: tuple[str, ...] | None
    labelled: bool = True


def read_ts(path: Path) -> Archive:
    """Read a .ts file of series without time stamps.

    Raises:
        DataError: if it is missing, damaged or holds what is not supported.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DataError("the file cannot be read; write or download it again.") from None
    labelled, names = _header(lines)
    rows = [line for line in lines if line.strip() and line.lstrip()[0] not in "#@"]
    if not rows:
        raise DataError("the file holds no series; write or download it again.")
    series, labels = zip(*(_parse(row, labelled, names) for row in rows), strict=True)
    if len({one.shape[1] for one in series}) > 1:
        raise DataError("the series differ in their number of channels; give each step all values.")
    return Archive(list(series), list(labels), names, labelled)


def read_ts_frame(paths: Sequence[Path]) -> tuple[pd.DataFrame, list[int]]:
    """Some files as one frame, and the rows of each: a series a row, a column of lists a channel.

    Raises:
        DataError: if they differ in their channels, or one is damaged.
    """
    archives = list(_each(paths))
    series = [one for archive in archives for one in archive.series]
    channels = {one.shape[1] for one in series}
    if len(channels) > 1:
        raise DataError(f"the files have series of {sorted(channels)} channels; give one kind.")
    (count,) = channels
    names = [f"channel_{number}" for number in range(1, count + 1)] if count > 1 else ["values"]
    columns: dict[str, Any] = {name: [s[:, i] for s in series] for i, name in enumerate(names)}
    kinds = {(archive.labelled, archive.class_names is None) for archive in archives}
    if len(kinds) > 1:
        raise DataError("some files have classes, others numbers or no labels; give one kind.")
    ((labelled, numbers),) = kinds
    labels: list[Any] = [label for archive in archives for label in archive.labels]
    if labelled:
        columns[LABEL] = (
            [label if label is None else float(label) for label in labels] if numbers else labels
        )
    frame = require("pandas", "table").DataFrame(columns)
    return frame, [len(archive.series) for archive in archives]


def _each(paths: Sequence[Path]) -> Iterator[Archive]:
    for path in paths:
        try:
            yield read_ts(path)
        except DataError as error:
            raise DataError(f"{path}: {error}" if len(paths) > 1 else str(error)) from None


def _header(lines: Sequence[str]) -> tuple[bool, tuple[str, ...] | None]:
    """Whether there are labels, and the classes if they are classes."""
    for line in lines:
        word, *values = line.split() or [""]
        told = bool(values) and values[0].lower() == "true"
        if word.lower() == "@timestamps" and told:
            raise DataError("the series have time stamps, which are not supported; leave them out.")
        if word.lower() == "@classlabel":
            return told, tuple(values[1:]) if told else None
        if word.lower() == "@targetlabel":
            return told, None
    raise DataError(
        "the line '@classLabel true <classes>', '@targetLabel true' or '@classLabel false' is "
        "missing; add it."
    )


def _parse(row: str, labelled: bool, names: Sequence[str] | None) -> tuple[Series, str | None]:
    *channels, last = (part.strip() for part in row.split(":"))
    label = None if last == UNKNOWN or not labelled else last
    channels = channels if labelled else [*channels, last]
    try:
        if not channels or (label is not None and names is not None and label not in names):
            raise ValueError
        if label is not None and names is None:
            float(label)
        values = [channel.replace(UNKNOWN, "nan").split(",") for channel in channels]
        one = np.array(values, np.float32)
    except ValueError:
        form = "1.0,2.0:3.0,4.0"
        if labelled:
            kind = "a number" if names is None else "a label that the header names"
            form += f":label, with {kind}, or ? if it is not known"
        raise DataError(
            f"the series {row[:30]!r}... is not of the form {form}; correct it."
        ) from None
    return one.T, label
