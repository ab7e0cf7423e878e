"""Named data sets, and the way from a spec to a Dataset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

from pydantic import ValidationError, validate_call

from bdistil.data.dataset import Dataset
from bdistil.data.describe import describe
from bdistil.data.weights import weighed
from bdistil.errors import (
    FOREIGN,
    BdistilError,
    DataError,
    SpecError,
    TeacherError,
    did_you_mean,
    is_ours,
    told,
)
from bdistil.names import Domain, Task
from bdistil.spec import DataSpec

MODULES = tuple(
    f"bdistil.datasets.{module}"
    for module in (
        *(
            "synthetic",
            "documents",
            "bundled",
            "magic",
            "time_series",
            "daily_sports",
            "speech_commands",
        ),
        *("fashion_mnist", "cifar", "image_folders"),
    )
)
"""Modules that register data sets when they are imported."""


class Loader(Protocol):
    """Makes a data set; further keyword arguments are its options, checked by annotation."""

    def __call__(self, seed: int, validation: float, test: float, **options: Any) -> Dataset:
        """Load, split by seed and shares, and standardise."""


@dataclass(frozen=True)
class DatasetEntry:
    """What is known of a data set before it is loaded.

    Attributes:
        name: the value of `data.name`.
        domain: the kind of input.
        task: what its labels are.
        input_shape: shape of one example.
        classes: number of classes or labels, None for regression.
        examples: number of examples in all splits, by default.
        source: where it comes from, in words.
        load: makes it.
        advice: what to do before it can be loaded, None if nothing.
        published_test: whether it has a test split of its own, so that `data.test` is not used.
    """

    name: str
    domain: Domain
    task: Task
    input_shape: tuple[int, ...]
    classes: int | None
    examples: int
    source: str
    load: Callable[..., Dataset]
    advice: Callable[[], str | None]
    published_test: bool

    @property
    def present(self) -> bool:
        """Whether it can be loaded here and now."""
        return self.advice() is None

    @property
    def remedy(self) -> str:
        """What to do if it is not present; empty if it is."""
        return self.advice() or ""


_entries: dict[str, DatasetEntry] = {}


def register_dataset(
    name: str,
    *,
    domain: Domain,
    input_shape: tuple[int, ...],
    classes: int | None,
    examples: int,
    source: str,
    advice: Callable[[], str | None] = lambda: None,
    published_test: bool = False,
    multilabel: bool = False,
) -> Callable[[Callable[..., Dataset]], Callable[..., Dataset]]:
    """Make a :class:`Loader` known by a name; for the arguments see :class:`DatasetEntry`.

    `classes` are labels of which an example may have several if `multilabel`.

    Raises:
        SpecError: if the name is taken.
    """

    def register(load: Callable[..., Dataset]) -> Callable[..., Dataset]:
        if load.__module__ not in MODULES:
            _import_all()  # their names are taken, whoever comes first
        if name in _entries:
            raise SpecError(f"data set name {name!r} is taken; register it under another name.")
        task: Task = "multilabel" if multilabel else "classification"
        if classes is None:
            task = "regression"
        _entries[name] = DatasetEntry(
            name,
            domain,
            task,
            input_shape,
            classes,
            examples,
            source,
            load,
            advice,
            published_test,
        )
        return load

    return register


def list_datasets() -> list[DatasetEntry]:
    """Every named data set, in the order of its modules; loads none."""
    _import_all()
    return sorted(_entries.values(), key=_place)


def _import_all() -> None:
    for module in MODULES:
        import_module(module)


def _place(entry: DatasetEntry) -> int:
    module = entry.load.__module__
    return MODULES.index(module) if module in MODULES else len(MODULES)


def load_dataset(
    spec: DataSpec, seed: int, teacher_columns: Sequence[str] | None = None
) -> Dataset:
    """Load the data set that a spec asks for, by name or by path, in three splits.

    Args:
        spec: the data part of the search space.
        seed: of the split and, for synthetic data, of the points.
        teacher_columns: columns of the user's table that hold a teacher's outputs, one a class in
            class order, which become `Split.teacher_outputs`. An NPZ file holds them as array
            `teacher`.

    Raises:
        SpecError: if the name, an option or a setting does not fit the source.
        DataError: if the file is missing, unreadable or unfit.
        TeacherError: if the teacher's columns are missing or unfit.
        MissingDependencyError: if the source needs a package that is not installed.
    """
    if spec.path is None:
        return _load_named(spec, seed, teacher_columns)
    if spec.options:
        raise SpecError("data.options are for a data set by data.name; remove them for data.path.")
    from bdistil.data.sources import load_own

    return load_own(spec, seed, teacher_columns)


def _load_named(spec: DataSpec, seed: int, teacher_columns: Sequence[str] | None) -> Dataset:
    entry = _entry_of(spec)
    if teacher_columns is not None:
        raise TeacherError(
            f"teacher.columns are for your own file (data.path), but data.name is {entry.name!r}; "
            "remove them to train a teacher here."
        )
    _check_fits(spec, entry)
    _check_options(spec.options, entry)
    dataset = _loaded(entry, spec, seed)
    how = "by chance" if dataset.task != "classification" else "by chance, stratified by class"
    if entry.published_test:
        how = "test as published"
    card = describe(dataset, f"{entry.name} ({entry.source})", how)
    return weighed(replace(dataset, card=card), spec)


def _loaded(entry: DatasetEntry, spec: DataSpec, seed: int) -> Dataset:
    load = validate_call(entry.load)
    try:
        dataset = load(seed=seed, validation=spec.validation, test=spec.test, **spec.options)
    except ValidationError as error:
        problem = error.errors()[0]
        option = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise SpecError(f"data.options.{option} is {problem['input']!r}: {message}.") from None
    except BdistilError:
        raise
    except FOREIGN as error:
        if is_ours(entry.load):
            raise
        raise DataError(
            f"data.name is {entry.name!r}, which cannot be loaded ({type(error).__name__}: "
            f"{told(error)}); correct the function that is registered so."
        ) from error
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"data.name is {entry.name!r}, which gives {type(dataset).__name__}; make the function "
            f"that is registered so give a bdistil.data.dataset.Dataset."
        )
    return dataset


def _entry_of(spec: DataSpec) -> DatasetEntry:
    names = [entry.name for entry in list_datasets()]
    if spec.name in names:
        return _entries[spec.name]
    raise SpecError(
        f"data.name is {spec.name!r}, which is no known data set; "
        f"{_hint(str(spec.name), names)} (your own file goes to data.path)."
    )


def _check_fits(spec: DataSpec, entry: DatasetEntry) -> None:
    if spec.task not in ("auto", entry.task):
        raise SpecError(f"data.task is {spec.task}, but {entry.name} is for {entry.task}.")
    shared = {"name", "task", "validation", "test", "views", "class_weight", "options"}
    own = [key for key in spec.model_fields_set - shared if getattr(spec, key) != _default(key)]
    if own:
        raise SpecError(
            f"data.{min(own)} is for your own data (data.path); remove it for data.name: "
            f"{entry.name}."
        )


def _default(key: str) -> Any:
    return DataSpec.model_fields[key].get_default(call_default_factory=True)


def _check_options(options: dict[str, Any], entry: DatasetEntry) -> None:
    known = list(inspect.signature(entry.load).parameters)
    known = [name for name in known if name not in ("seed", "validation", "test")]
    for option in options:
        if option not in known:
            raise SpecError(
                f"data.options.{option} is unknown to {entry.name}; {_hint(option, known)}."
            )


def _hint(name: str, known: list[str]) -> str:
    if guess := did_you_mean(name, known):
        return guess
    return f"known: {', '.join(known)}" if known else "it takes none"
