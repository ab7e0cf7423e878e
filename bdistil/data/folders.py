"""The user's own folders of photographs or recordings as a Dataset."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset
from bdistil.data.decoded import DecodedFeatures
from bdistil.data.divide import Known
from bdistil.data.labels import encode_labels
from bdistil.data.own import assemble_own, check_unset
from bdistil.errors import DataError, SpecError, TeacherError
from bdistil.files.class_folders import Listing, list_class_folders, told_groups
from bdistil.files.encoded import Files, Medium
from bdistil.files.file_readers import errors_naming
from bdistil.files.parts import join_parts
from bdistil.spec import DataSpec
from bdistil.spec.data import COLUMN_KEYS

FOLDER = "folder"  # of data.group


def load_folder(
    spec: DataSpec,
    seed: int,
    medium: Medium[Any, Any],
    teacher_columns: Sequence[str] | None = None,
) -> Dataset:
    """Read photographs or recordings that lie in a folder for each class, and split them.

    Args:
        spec: with `path`, and maybe `validation_path` and `test_path`.
        seed: of the split.
        medium: what the files are.
        teacher_columns: must be None.

    Raises:
        SpecError: if the spec names columns, which folders have not.
        DataError: if folders or files are unfit, listing what is wrong.
        TeacherError: if a teacher's columns are named.
        MissingDependencyError: if the package that decodes the files is not installed.
    """
    assert spec.path is not None
    _refuse_columns(spec, teacher_columns)
    listings = {}
    for key, path in spec.sources.items():
        with errors_naming(path):
            listings[key] = list_class_folders(path, medium.suffixes, medium.noun)
    with errors_naming(spec.path):
        classes = [name for listing in listings.values() for name in listing.classes]
        labels = encode_labels(np.array(classes, object), "classification", "the folder")
        files = [file for listing in listings.values() for file in listing.files]
        features = DecodedFeatures(Files(files, spec.path), medium, spec)
        parts = join_parts({key: (own.parts, len(own.files)) for key, own in listings.items()})
        notes = [note for listing in listings.values() for note in listing.notes]
        groups = None
        if spec.group is not None:
            groups = _groups_of(listings.values(), medium.noun)
        else:
            notes += told_groups(listings.values())
        source = f"folder {spec.path.resolve().name}"
        known = Known(parts, groups)
        return assemble_own(spec, seed, source, features, labels, known, notes=notes)


def _groups_of(listings: Collection[Listing], noun: str) -> NDArray[Any]:
    """The folder in its class that each file lies in, (N,).

    Raises:
        DataError: if some lie in none.
    """
    groups = [group for listing in listings for group in listing.groups]
    files = [file for listing in listings for file in listing.files]
    without = [str(file) for file, group in zip(files, groups, strict=True) if group is None]
    if without:
        raise DataError(
            f"data.group=folder takes files in folders in their classes, CLASS/GROUP/*, but "
            f"{len(without):,} of {len(groups):,} {noun}s are in none, such as {without[0]}; move "
            f"them, or leave data.group out."
        )
    return np.array(groups, object)


def _refuse_columns(spec: DataSpec, teacher_columns: Sequence[str] | None) -> None:
    if spec.group not in (None, FOLDER):
        raise SpecError(
            f"data.group is {spec.group!r}, but {spec.path} is a folder, which has no columns; "
            f"data.group={FOLDER} groups files by the folders in their classes, CLASS/GROUP/*."
        )
    keys = ("features", "ignore", *(key for key in COLUMN_KEYS if key != "group"))
    check_unset(spec, keys, "is a folder with a folder for each class")
    if spec.label != "label" or spec.task not in ("auto", "classification"):
        raise SpecError(
            f"the classes of {spec.path} are its folders; leave data.label and data.task out."
        )
    if teacher_columns is not None:
        raise TeacherError(
            f"teacher.columns are for tables, but {spec.path} is a folder of files; remove them."
        )
