"""The user's own files of data: named where they are gone or have changed since the runs began."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bdistil.errors import DataError
from bdistil.experiments.design import Run
from bdistil.experiments.execute import FIGURES_FILE
from bdistil.files.class_folders import visible
from bdistil.spec import Spec
from bdistil.store.durable import read_file, write_atomic
from bdistil.teachers.teacher_files import files_of

DATA_FILE = "data.json"

Hashes = dict[str, dict[str, str]]
"""By search space and path, as the search space has it: SHA-256 of the content."""


def check_there(runs: Sequence[Run], out: Path) -> None:
    """Refuse runs whose data or teacher's file are gone, but for those that have ended.

    Raises:
        DataError: naming the file.
    """
    for run in runs:
        if has_ended(run.folder, out):
            continue
        for field, path in files_named(run.spec).items():
            if not path.exists():
                raise DataError(
                    f"{field} of {run.data} is {path}, which is not there; run the command from "
                    f"the folder where the experiment began, or put the file there."
                )


def files_named(spec: Spec) -> dict[str, Path]:
    """The user's files of data and of what a teacher has learnt, by field."""
    field = "teacher.model" if spec.teacher.weights is None else "teacher.weights"
    found = {f"data.{key}": path for key, path in spec.data.sources.items()}
    if learnt := files_of(spec.teacher):
        found[field] = learnt[0]
    return found


def check_unchanged(runs: Sequence[Run], out: Path) -> None:
    """Refuse other data than those of the runs that have ended, and keep what they hash to.

    An experiment that has kept nothing yet, as an earlier version began it, does so now.

    Raises:
        DataError: naming the file that has changed.
        CheckpointError: if the hashes cannot be written.
    """
    known, now = recorded(out), hashes_of(runs, out)
    for data, path in changed(known, now):
        if any(has_ended(folder, out) for folder in folders_of(data, out)):
            raise DataError(
                f"{path} has changed since the experiment in {out} began; restore it, or choose "
                f"another --out."
            )
    merged = known | {data: known.get(data, {}) | files for data, files in now.items()}
    if merged != known:
        write_atomic(out / DATA_FILE, (json.dumps(merged, indent=1) + "\n").encode())


def recorded(folder: Path) -> Hashes:
    """What an experiment's folder has kept; nothing where it has not.

    Raises:
        DataError: if that is damaged.
    """
    file = folder / DATA_FILE
    try:
        return TypeAdapter(Hashes).validate_json(read_file(file))
    except FileNotFoundError:
        return {}
    except ValidationError:
        raise DataError(
            f"{file} is damaged; restore it, or delete it if the data are still the same."
        ) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from None


def changed(known: Hashes, now: Hashes) -> list[tuple[str, str]]:
    """The search spaces and paths of which both have a hash, and not the same."""
    return [
        (data, path)
        for data, files in now.items()
        for path, digest in files.items()
        if known.get(data, {}).get(path, digest) != digest
    ]


def hashes_of(runs: Sequence[Run], out: Path) -> Hashes:
    """Of the files that are there; each is read once. What lies in the folder `out` is no data."""
    by_path: dict[Path, str] = {}
    found: Hashes = {}
    for run in runs:
        for path in run.spec.data.sources.values():
            if not (path.is_file() or path.is_dir()):
                continue
            if path not in by_path:
                by_path[path] = sha256_of(path, out.resolve())
            found.setdefault(run.data, {})[str(path)] = by_path[path]
    return found


def sha256_of(path: Path, without: Path) -> str:
    """Of a file, or of the names and contents of the files in a folder.

    Raises:
        DataError: if one cannot be read.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for inner in files_in(path, without):
            digest.update(os.fsencode(inner) + b"\0" + sha256_of(path / inner, without).encode())
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    return digest.hexdigest()


def files_in(folder: Path, without: Path) -> Iterator[Path]:
    """The files below a folder that are read as data, in order and relative to it."""
    place = folder.resolve()
    left_out = without.relative_to(place) if without.is_relative_to(place) else None
    for inner, is_folder in visible(folder):
        own = left_out is not None and inner.is_relative_to(left_out)
        if not is_folder and not own and (folder / inner).is_file():
            yield inner


def folders_of(data: str, out: Path) -> list[str]:
    """The folders of a search space's runs that have begun, relative to the experiment."""
    places = out.glob("runs/*")  # such as runs/digits-0123456789-0; names may hold dashes, too
    return [f"runs/{each.name}" for each in places if each.name.rsplit("-", 2)[0] == data]


def has_ended(folder: str, out: Path) -> bool:
    """Whether a run has figures."""
    return (out / folder / FIGURES_FILE).exists()
