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
LABEL = "label"


class Archive(NamedTuple):
    """The content of one .ts file.

    Attributes:
        series: float32 (steps, channels) each; steps may differ, and values may be missing (NaN).
        labels: of each series, as written.
        class_names: in the order of the file's header; None if labels are numbers to be predicted.
    """

    series: list[Series]
    labels: list[str]
    class_names: tuple[str, ...] | None


def read_ts(path: Path) -> Archive:
    """Read a .ts file of labelled series without time stamps.

    Raises:
        DataError: if it is missing, damaged or holds what is not supported.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DataError("the file cannot be read; write or download it again.") from None
    names = _class_names(lines)
    rows = [line for line in lines if line.strip() and line.lstrip()[0] not in "#@"]
    if not rows:
        raise DataError("the file holds no series; write or download it again.")
    series, labels = zip(*(_parse(row, names) for row in rows), strict=True)
    if len({one.shape[1] for one in series}) > 1:
        raise DataError("the series differ in their number of channels; give each step all values.")
    return Archive(list(series), list(labels), names)


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
    labels: list[Any] = [label for archive in archives for label in archive.labels]
    if all(archive.class_names is None for archive in archives):
        labels = [float(label) for label in labels]
    frame = require("pandas", "table").DataFrame(columns | {LABEL: labels})
    return frame, [len(archive.series) for archive in archives]


def _each(paths: Sequence[Path]) -> Iterator[Archive]:
    for path in paths:
        try:
            yield read_ts(path)
        except DataError as error:
            raise DataError(f"{path}: {error}" if len(paths) > 1 else str(error)) from None


def _class_names(lines: Sequence[str]) -> tuple[str, ...] | None:
    for line in lines:
        word, *values = line.split() or [""]
        told = bool(values) and values[0].lower() == "true"
        if word.lower() == "@timestamps" and told:
            raise DataError("the series have time stamps, which are not supported; leave them out.")
        if word.lower() == "@classlabel" and told and len(values) > 2:
            return tuple(values[1:])
        if word.lower() == "@targetlabel" and told:
            return None
    raise DataError(
        "the line '@classLabel true <classes>' or '@targetLabel true' is missing; add it, as "
        "series without labels have nothing to learn."
    )


def _parse(row: str, names: Sequence[str] | None) -> tuple[Series, str]:
    *channels, label = (part.strip() for part in row.split(":"))
    try:
        if not channels or (names is not None and label not in names):
            raise ValueError
        if names is None:
            float(label)
        one = np.array([channel.replace("?", "nan").split(",") for channel in channels], np.float32)
    except ValueError:
        raise DataError(
            f"the series {row[:30]!r}... is not of the form 1.0,2.0:3.0,4.0:label, with a label "
            "that the header names; correct it."
        ) from None
    return one.T, label
