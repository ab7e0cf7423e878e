"""A folder whose files are examples: one folder a class, maybe in folders for the splits."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bdistil.errors import BdistilWarning, DataError
from bdistil.files.file_readers import has_suffix
from bdistil.files.parts import SPLITS, TEST, TRAIN, Parts, part_named
from bdistil.files.wording import HANDFUL, some

MANY = 100_000
"""Files, from which on it is said that listing them takes its time."""


class Listing(NamedTuple):
    """Files in order.

    Attributes:
        files: each one's path.
        classes: the class of each.
        groups: the folder in its class that each lies in, such as a speaker's; None if in none.
        parts: the split of each if there are folders for splits.
        notes: what else a reader should know.
    """

    files: list[Path]
    classes: list[str]
    groups: list[str | None]
    parts: Parts | None
    notes: list[str]


class Place(NamedTuple):
    """Where an example lies: its split, if folders say so, its class, and a folder in that."""

    part: int | None
    name: str
    group: str | None


def visible(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Each file below a folder, and each folder (True), in order and relative to it.

    Left out is what is hidden, marks such as ``_SUCCESS``, and links to a folder that they lie in,
    of which a warning tells. Another one says that there are many files, as listing takes long.
    """
    count, many = 0, MANY
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        folders[:] = [name for name in folders if not _leads_back(os.path.join(place, name))]
        here = Path(place).relative_to(folder)
        yield from ((here / name, True) for name in folders)
        yield from ((here / name, False) for name in sorted(files) if name[0] not in "._")
        count += len(files) + len(folders)
        if count >= many:
            warnings.warn(
                f"{folder} holds {count:,} files so far, and the listing goes on.",
                BdistilWarning,
                stacklevel=2,
            )
            many = 2 * count


def _leads_back(path: str) -> bool:
    """Whether a folder is a link to one that it lies in, so that its files never end."""
    if not os.path.islink(path):
        return False
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.samefile(above, path):
        if above == os.path.dirname(above):
            return False
        above = os.path.dirname(above)
    warnings.warn(
        f"{path} is a link to a folder that it lies in, and left out.", BdistilWarning, stacklevel=3
    )
    return True


def list_class_folders(folder: Path, suffixes: tuple[str, ...], noun: str) -> Listing:
    """The files of ``CLASS/*``, or of ``train/CLASS/*``, ``val/CLASS/*`` and ``test/CLASS/*``.

    Args:
        folder: of the data.
        suffixes: of the files.
        noun: what they are.

    Raises:
        DataError: listing what is wrong with the folders.
    """
    entries = list(visible(folder))
    folders = [path for path, is_folder in entries if is_folder]
    files = [path for path, is_folder in entries if not is_folder]
    depth = int(_has_splits(folders))
    placed = {path: _place(path, depth) for path in files if has_suffix(path, suffixes)}
    places = {path: place for path, place in placed.items() if place is not None}
    loose = [path for path, place in placed.items() if place is None]
    unlabelled, problems = _without_class(loose, places.values())
    classes = [path for path in folders if len(path.parts) == depth + 1]
    filled = {Path(*path.parts[: depth + 1]) for path in places}
    problems += [
        f"class folder {str(path)!r} has no {noun}"
        for path in classes
        if path not in filled and path.parts[0] not in unlabelled
    ]
    problems += _unknown_classes(places.values())
    names = {place.name for place in places.values()}
    if len(names) == 1 and not problems:
        problems.append(f"there is only one class, {names.pop()!r}")
    _refuse(problems, suffixes[0])
    notes = [f"{name} is left out: its {noun}s are in no class" for name in unlabelled]
    parts = [place.part for place in places.values()]
    return Listing(
        [folder / path for path in places],
        [place.name for place in places.values()],
        [place.group for place in places.values()],
        np.array(parts, np.int8) if depth else None,
        [*notes, *told_left_out([path for path in files if path not in placed])],
    )


def told_left_out(others: Sequence[Path]) -> list[str]:
    """That files of other kinds are left out, if there are any."""
    if not others:
        return []
    types = some(sorted({path.suffix.lower() or path.name for path in others}))
    are = "files are" if len(others) > 1 else "file is"
    return [f"{len(others):,} other {are} left out ({types})"]


def _has_splits(folders: Sequence[Path]) -> bool:
    """Whether the outermost folders are splits: train among them, and nothing else.

    Raises:
        DataError: if they are splits and something else, or a split twice.
    """
    outer = [path.name for path in folders if len(path.parts) == 1]
    parts = [part_named(name) for name in outer]
    if TRAIN not in parts:
        return False
    others = [name for name, part in zip(outer, parts, strict=True) if part is None]
    if others:
        raise DataError(
            f"beside the folder train there is {some(others)}: either train is a split, then move "
            "the others elsewhere, or train is a class, then rename it."
        )
    if len(set(parts)) < len(parts):
        raise DataError(f"two of the folders {some(outer)} are the same split; keep one of them.")
    return True


def _place(path: Path, depth: int) -> Place | None:
    """Where an example lies; None if it is in no folder of a class."""
    if len(path.parts) < depth + 2:
        return None
    inner = path.parts[depth + 1 : -1]
    part = part_named(path.parts[0]) if depth else None
    return Place(part, path.parts[depth], inner[0] if inner else None)


def told_groups(listings: Collection[Listing]) -> list[str]:
    """That there are folders in the classes, which may be groups, or the classes themselves."""
    inside: dict[str, set[str]] = {}
    for listing in listings:
        for name, group in zip(listing.classes, listing.groups, strict=True):
            inside.setdefault(name, set()).update(() if group is None else (group,))
    groups = sorted(set().union(*inside.values()))
    if len(groups) < 2:  # none, or the same in all, as images/
        return []
    kept = "data.group=folder keeps each in one split"
    if len(set.intersection(*inside.values())) < 2:
        return [f"there are folders in the classes ({some(groups)}): {kept}"]
    return [
        f"the classes hold folders of the same names ({some(groups)}): if these are groups, such "
        f"as speakers, {kept}; if they are the classes, put them outermost"
    ]


def _without_class(loose: Sequence[Path], places: Collection[Place]) -> tuple[list[str], list[str]]:
    """Folders of a test split without any class, and what is wrong with other loose examples."""
    labelled = {place.part for place in places}
    homes: dict[str, list[Path]] = {}
    for path in loose:
        homes.setdefault(str(path.parent), []).append(path)
    unlabelled = [home for home in homes if part_named(home) == TEST and TEST not in labelled]
    problems = [
        f"{paths[0]} is in no class" + (f", nor {len(paths) - 1:,} others there" * (len(paths) > 1))
        for home, paths in homes.items()
        if home not in unlabelled
    ]
    return unlabelled, problems


def _unknown_classes(places: Collection[Place]) -> list[str]:
    trained = {place.name for place in places if place.part in (None, TRAIN)}
    others = {
        (place.part, place.name)
        for place in places
        if place.part is not None and place.name not in trained
    }
    return [f"class {name!r} of {SPLITS[part]} is not in train" for part, name in sorted(others)]


def _refuse(problems: Sequence[str], suffix: str) -> None:
    if problems:
        more = len(problems) - HANDFUL
        shown = "; ".join(problems[:HANDFUL]) + (f"; and {more} more" if more > 0 else "")
        raise DataError(f"{shown}; there should be a folder for each class, as in CLASS/a{suffix}.")
