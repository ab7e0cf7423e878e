"""Photographs and recordings in files or in a table's cells, decoded once into an array on disk."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict

from bdistil.errors import DataError
from bdistil.files.array_files import (
    file_state,
    mapped,
    new_array,
)
from bdistil.files.wording import HANDFUL
from bdistil.spec import DataSpec
from bdistil.store.durable import is_special, write_atomic

if TYPE_CHECKING:
    from bdistil.files.column_file import ColumnFile

VERSION = 2
"""Of the decoding: what another version has cached is not used."""
EVERY = 10_000
"""Examples between two messages."""
BATCH = 256

Encoded = Path | BytesIO
Header = TypeVar("Header")
Result = TypeVar("Result")


class Form(BaseModel):
    """What all examples become.

    Attributes:
        shape: of one example.
        said: what the examples are and what becomes of them, in words.
        padding: see :class:`bdistil.data.dataset.Dataset`.
    """

    model_config = ConfigDict(frozen=True)

    shape: tuple[int, ...]
    said: str = ""
    padding: float | None = None


FormType = TypeVar("FormType", bound=Form)


@dataclass(frozen=True)
class Medium(Generic[Header, FormType]):
    """A kind of encoded examples and how they are read.

    Attributes:
        noun: such as "photograph".
        domain: of the decoded examples.
        suffixes: of files.
        magic: what their content begins with, a regular expression.
        key: of the spec, that wishes for a form.
        dtype: of the decoded examples.
        form: the class of the form.
        header: what decides on the form, of one example; raises DataError with the reason if it is
            unreadable.
        choose: the form, from all headers and the spec.
        decode: one example in that form; raises DataError likewise.
    """

    noun: str
    domain: Literal["image", "sequence"]
    suffixes: tuple[str, ...]
    magic: bytes
    key: str
    dtype: DTypeLike
    form: type[FormType]
    header: Callable[[Encoded], Header]
    choose: Callable[[Sequence[Header], DataSpec], FormType]
    decode: Callable[[Encoded, FormType], NDArray[Any]]


class Examples(Protocol):
    """Encoded examples in order, each with a name for messages."""

    def __len__(self) -> int:
        """Their number."""

    def __iter__(self) -> Iterator[tuple[str, Encoded]]:
        """Name and content of each."""

    def state(self) -> Any:
        """What changes with the content, JSON-able."""


@dataclass(frozen=True)
class Files:
    """Examples that are files of a folder."""

    files: Sequence[Path]
    root: Path

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[str, Encoded]]:
        for file in self.files:
            inside = file.is_relative_to(self.root)
            yield str(file.relative_to(self.root) if inside else file), file

    def state(self) -> Any:
        """Names, sizes and times of change."""
        return file_state(self.files)


@dataclass(frozen=True)
class Cells:
    """Examples that are cells of a Parquet column: bytes, or structs of `bytes` and `path`."""

    table: ColumnFile
    column: str

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[tuple[str, Encoded]]:
        row = 0
        for batch, _ in self.table.blocks([self.column], BATCH):
            values = batch.column(0).to_pylist()
            for value in values:
                path = value.get("path") if isinstance(value, dict) else None
                yield path or f"row {row} (counted from 0)", BytesIO(content_of(value))
                row += 1

    def state(self) -> Any:
        """The table's and the column."""
        return [*file_state(self.table.paths), self.column]


def content_of(cell: Any) -> bytes:
    """The bytes of a cell, none if it has none."""
    content: bytes = (cell.get("bytes") if isinstance(cell, dict) else cell) or b""
    return content


def decoded_to_suit(
    examples: Examples,
    medium: Medium[Any, Any],
    spec: DataSpec,
    folder: Path,
) -> tuple[np.memmap[Any, Any], Form]:
    """Every example in one form that suits them all and the spec; cached like :func:`decoded`.

    Args:
        examples: to decode.
        medium: what they are.
        spec: with the wishes for the form.
        folder: for the cache.

    Returns:
        The examples, (N, *shape), mapped, and their form.

    Raises:
        DataError: if examples are damaged, the first few by name.
        MissingDependencyError: if the package that decodes them is not installed.
    """
    facts = folder / f"{_key(examples, medium, [spec.size, spec.seconds])}.json"
    if facts.exists():
        form = medium.form.model_validate_json(facts.read_bytes())
    else:
        form = medium.choose(list(_each(examples, medium.header, medium.noun)), spec)
    x = decoded(examples, medium, form, folder)
    if not facts.exists():
        write_atomic(facts, form.model_dump_json().encode())
    return x, form


def decoded(
    examples: Examples, medium: Medium[Any, FormType], form: FormType, folder: Path
) -> np.memmap[Any, Any]:
    """Every example in a form that is decided, (N, *shape), mapped; from the cache if it is there.

    Raises:
        DataError: as for :func:`decoded_to_suit`.
    """
    path = folder / f"{_key(examples, medium, form.model_dump())}.npy"
    if not path.exists():
        with new_array(path, medium.dtype, (len(examples), *form.shape)) as array:
            for row, example in enumerate(decode_each(examples, medium, form)):
                array[row] = example
                if (row + 1) % EVERY == 0:
                    print(
                        f"{row + 1:,} of {len(examples):,} {medium.noun}s decoded", file=sys.stderr
                    )
    return mapped(path)


def decode_each(
    examples: Examples, medium: Medium[Any, FormType], form: FormType
) -> Iterator[NDArray[Any]]:
    """Every example in a form that is decided, one by one and from no cache.

    Raises:
        DataError: as for :func:`decoded_to_suit`.
    """
    return _each(examples, lambda file: medium.decode(file, form), medium.noun)


def _key(examples: Examples, medium: Medium[Any, Any], form: Any) -> str:
    """A file's name, another one for other examples and another form."""
    key = json.dumps([VERSION, form, examples.state()])
    return f"{medium.noun}s-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _each(examples: Examples, work: Callable[[Encoded], Result], noun: str) -> Iterator[Result]:
    """The work's results in order; unreadable examples are collected, a handful ends it."""
    problems: list[str] = []

    def attempt(example: tuple[str, Encoded]) -> Result | None:
        try:
            if isinstance(example[1], Path) and is_special(example[1]):
                raise DataError("a pipe or a device, no file")
            return work(example[1])
        except DataError as error:
            problems.append(f"{example[0]} ({error})")
            return None

    rest = iter(examples)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while len(problems) < HANDFUL and (batch := list(islice(rest, BATCH))):
            for result in pool.map(attempt, batch):
                if result is not None:
                    yield result
    if problems:
        count, shown = len(problems), sorted(problems)[:HANDFUL]
        raise DataError(
            f"{'at least ' * (count >= HANDFUL)}{count} {noun}{'s' * (count > 1)} cannot be read: "
            f"{', '.join(shown)}{', ...' * (count > HANDFUL)}; replace or remove what is damaged."
        )
