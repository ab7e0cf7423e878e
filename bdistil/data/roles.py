"""What each column of a user's table is for: label, features, splits, or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bdistil.data.data_card import ColumnNote
from bdistil.data.lists import holds_numbers, is_nested
from bdistil.data.set_aside import NAMED_AS_ID, SAME, reason_to_set_aside
from bdistil.errors import BdistilError, BdistilWarning, DataError, TeacherError, did_you_mean
from bdistil.files.parts import looks_like_parts
from bdistil.files.table_files import Table
from bdistil.files.wording import some
from bdistil.spec import DataSpec
from bdistil.spec.data import COLUMN_KEYS

if TYPE_CHECKING:
    from bdistil.runtime.columns import FeatureColumn, TableColumns

SHOWN_COLUMNS = 12
FEWEST_OF_A_GROUP = 4  # examples in the mean; a column of more values may be anything
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Roles:
    """Which columns are features, and what the others are.

    Attributes:
        features: in order; one, if it holds photographs or recordings.
        others: what else there is by name, in words.
    """

    features: list[str]
    others: dict[str, str]

    def notes(self, encoded: TableColumns | None = None) -> list[ColumnNote]:
        """Every column for the card, features as they were encoded."""
        known = {} if encoded is None else {column.name: column for column in encoded.features}
        uses = {name: _use(known[name]) for name in (self.features if known else ())}
        return [ColumnNote(name=name, use=use) for name, use in (uses | self.others).items()]


def _use(column: FeatureColumn) -> str:
    """What a column became, in words."""
    if column.parts is not None:
        said, filled = f"dates, as {', '.join(column.parts)}", "medians"
    elif column.size:
        return f"lists of {column.size:,} numbers"
    elif column.categories is not None:
        said, filled = "categories, one-hot", "zeros"
        if column.rarer:
            known = len(column.categories)
            said += f" for the {known:,} most frequent of {known + column.rarer:,}"
    else:
        said, filled = "numbers", "the median"
    if not column.missing:
        return said
    return f"{said}; {column.missing:,} missing values are {filled}, and marked by a feature"


def assign_roles(
    table: Table,
    spec: DataSpec,
    teacher: Sequence[str],
    *,
    constants: bool = False,
    vectors: bool = False,
) -> Roles:
    """Decide on every column of a table.

    Args:
        table: with the columns.
        spec: that names some of them.
        teacher: columns of a teacher's outputs.
        constants: whether what is the same in every row may be a feature, as a step is.
        vectors: whether lists of numbers may be features.

    Raises:
        DataError: if a named column is missing or named twice, or no feature is left.
        TeacherError: if a teacher's column is missing.
    """
    known = list(table.frame.columns)
    _check_named(spec, known, teacher)
    _check_flat(spec, table, vectors)
    others = dict.fromkeys(spec.labels, "label") | dict.fromkeys(teacher, "teacher")
    others |= dict.fromkeys(spec.ignore, f"{LEFT_OUT} (data.ignore)")
    for key in COLUMN_KEYS:
        name = getattr(spec, key)
        if name is not None and name not in (spec.features or ()):
            others.setdefault(name, f"data.{key}")
    if spec.features is None:
        others |= dict.fromkeys(_index(table, others), f"{LEFT_OUT}, the table's index")
        free = [name for name in known if name not in others]
        free = [name for name in free if not (vectors and _is_vector(table, name))]
        others |= _set_aside(table, free, constants)
    free = [name for name in known if name not in others]
    names = list(dict.fromkeys(free if spec.features is None else spec.features))
    _check_no_clash(names, others)
    _check_no_split(table, names)
    names, beside = _media_alone(table, names, spec.features is not None)
    if not names:
        raise DataError("no feature column is left; check data.features and data.ignore.")
    others |= dict.fromkeys(beside, f"{LEFT_OUT} beside {names[0]}")
    rest = [name for name in known if name not in others and name not in names]
    others |= dict.fromkeys(rest, f"{LEFT_OUT}, not in data.features")
    return Roles(names, others)


def possible_groups(table: Table, roles: Roles, spec: DataSpec) -> Iterator[str]:
    """Columns that may tell whose the rows are, in sentences.

    These are identifiers that repeat, and whatever repeats often beside photographs or recordings:
    figures of speakers who were heard in training say little of others
    (results/2026-11-29-spoken).
    """
    if spec.group is not None or spec.split is not None:
        return
    beside = f"{LEFT_OUT} beside {roles.features[0]}"
    names = [name for name in roles.features if name not in table.media]
    for name in [*names, *(name for name, use in roles.others.items() if use.startswith(LEFT_OUT))]:
        named = NAMED_AS_ID.search(name) is not None
        if not named and roles.others.get(name) != beside:
            continue
        values = table.frame[name]
        if is_nested(values):
            continue
        count = values.nunique()
        most = len(values) - 1 if named else len(values) / FEWEST_OF_A_GROUP
        if 1 < count <= most:
            yield (
                f"{name} has {count:,} values: if they are people, places or devices, "
                f"data.group={name} keeps each in one split, and figures hold for new ones"
            )


def _index(table: Table, others: Mapping[str, str]) -> list[str]:
    """What was an index beside the data: often row numbers, which leak the order of the file."""
    found = [name for name in table.index if name not in others]
    for name in found:
        warnings.warn(
            f"column {name!r} was the table's index and is left out; name it in data.features if "
            "it is a feature.",
            BdistilWarning,
            stacklevel=2,
        )
    return found


def _set_aside(table: Table, names: Sequence[str], constants: bool) -> dict[str, str]:
    """Columns that teach nothing, and why they are left out."""
    found: dict[str, str] = {}
    for name in names:
        frames = [table.frame]
        if table.whole is not None and name in table.whole:
            frames.append(table.whole)
        reasons = (reason_to_set_aside(frame[name]) for frame in frames if name not in table.media)
        reason = next((reason for reason in reasons if reason is not None), None)
        if reason is None or (constants and reason == SAME):
            continue
        found[name] = f"{LEFT_OUT}, {reason}"
        warnings.warn(
            f"column {name!r} is left out: {reason}; name it in data.features if it is a feature.",
            BdistilWarning,
            stacklevel=2,
        )
    return found


def _media_alone(table: Table, names: list[str], given: bool) -> tuple[list[str], list[str]]:
    """Photographs or recordings are the only feature; and what is left out beside them.

    Raises:
        DataError: if several such columns, or others too, are to be features.
    """
    media = [name for name in names if name in table.media]
    if not media:
        return names, []
    if len(media) > 1 or (given and len(names) > 1):
        raise DataError(
            f"column {media[0]!r} holds {table.media[media[0]].noun}s, which are features on their "
            f"own, not with {some([name for name in names if name != media[0]])}; name one column "
            "in data.features."
        )
    return media, [name for name in names if name not in media]


def _check_named(spec: DataSpec, known: list[str], teacher: Sequence[str]) -> None:
    check_known(spec.labels, known, "data.label")
    check_known(spec.ignore, known, "data.ignore")
    check_known(spec.features or (), known, "data.features")
    for key in COLUMN_KEYS:
        name = getattr(spec, key)
        check_known([] if name is None else [name], known, f"data.{key}")
    check_known(teacher, known, "teacher.columns", TeacherError)
    _check_no_clash(spec.labels, {*spec.ignore, *teacher})


def _check_flat(spec: DataSpec, table: Table, vectors: bool) -> None:
    """Refuse lists and structures where one value a row is needed."""
    named = {"label": spec.labels, "features": spec.features or ()}
    named |= {key: [getattr(spec, key)] for key in COLUMN_KEYS}
    for key, names in named.items():
        for name in names:
            if key == "features" and vectors and _is_vector(table, name):
                continue
            if name is not None and name not in table.media and is_nested(table.frame[name]):
                raise DataError(
                    f"data.{key} names column {name!r}, which holds lists or structures; give "
                    "each value a column of its own."
                )


def _is_vector(table: Table, name: str) -> bool:
    """Whether a column holds lists of numbers."""
    if name in table.media:
        return False
    return is_nested(table.frame[name]) and holds_numbers(table.frame[name])


def check_known(
    wanted: Iterable[str], known: list[str], key: str, error: type[BdistilError] = DataError
) -> None:
    """Refuse names of columns that a table has not.

    Raises:
        BdistilError: of the class given, naming the spec's key.
    """
    for name in wanted:
        if name not in known:
            hint = f"{did_you_mean(name, known)} ".lstrip()
            shown = ", ".join(known[:SHOWN_COLUMNS]) + (
                ", ..." if len(known) > SHOWN_COLUMNS else ""
            )
            raise error(f"{key} names column {name!r}, which is missing; {hint}there are {shown}.")


def _check_no_clash(names: Sequence[str], taken: Iterable[str]) -> None:
    for name in names:
        if name in taken:
            raise DataError(
                f"column {name!r} is named twice; it stands in one of data.label, data.features, "
                "data.ignore, data.split and teacher.columns only."
            )


def _check_no_split(table: Table, names: Sequence[str]) -> None:
    """Refuse a column of train and test among the features."""
    for name in names:
        if name in table.media or name in getattr(table.frame, "of_numbers", ()):
            continue
        values = table.frame[name]
        if is_nested(values) or values.dtype.kind != "O":
            continue
        if looks_like_parts(values.unique()):
            raise DataError(
                f"column {name!r} holds nothing but names of splits, such as {values.iloc[0]!r}; "
                f"set data.split={name} to split by it, or leave it out with data.ignore."
            )
