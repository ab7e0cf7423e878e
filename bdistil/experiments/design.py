"""A designed experiment: every combination of varied fields, on every search space and seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bdistil.errors import SpecError
from bdistil.spec import Spec, load_spec
from bdistil.spec.yaml_text import YamlError, parse_yaml

METHOD = "method"
"""The field of a cell that names a method instead of a value of the spec."""


Source = str | Path | Mapping[str, Any]
"""A search space: a file, or its content."""

IN_CASCADE = "ours-cascade"
"""The search, of which each example leaves at the stage that is sure of it."""

OUR_METHODS: dict[str, dict[str, Any]] = {
    "ours": {},
    "streaming": {
        "space.connection": "none",
        "space.gamma": {"low": 30, "high": 300, "log": True},
    },
    "boosting": {
        "space.connection": "none",
        "space.skip": True,
        "space.gamma": 1e12,
        "search.min_edge": -1e30,
    },
    IN_CASCADE: {},
}
"""Methods that are searches of our own, and what they change.

Heads of dense connections read all earlier students, which folds into one head where the budget is
known and is paid at each stage where it is not: `streaming` has none, and a weaker term, as without
connections edges cost more accuracy. Boosting knows no edges.
"""


@dataclass(frozen=True)
class Run:
    """One search of the experiment.

    Attributes:
        data: name of the search space.
        cell: value of each varied field, as written.
        seed: of data split, teacher and search.
        spec: the search; it runs in a process of its own, without workers.
        teacher_folder: where its teacher is kept, relative to the experiment; runs of the same
            data, teacher and seed share it. By default :func:`teacher_folder_of` its spec, and a
            run whose spec is replaced keeps it.
    """

    data: str
    cell: Mapping[str, str]
    seed: int
    spec: Spec
    teacher_folder: str = ""

    def __post_init__(self) -> None:
        if not self.teacher_folder:
            object.__setattr__(self, "teacher_folder", teacher_folder_of(self.spec, self.seed))

    @property
    def label(self) -> str:
        """The cell in words, such as ``connection=dense skip=true``."""
        return label_of(self.cell)

    @property
    def folder(self) -> str:
        """Where it is kept, relative to the experiment."""
        digest = hashlib.sha256(json.dumps(dict(self.cell), sort_keys=True).encode()).hexdigest()
        return f"runs/{self.data}-{digest[:10]}-{self.seed}"


def teacher_folder_of(spec: Spec, seed: int, named: Mapping[str, Any] | None = None) -> str:
    """Where a teacher is kept, relative to the experiment; what its data and itself are decides.

    Args:
        spec: with the teacher and its data.
        seed: of the run.
        named: the search space as the experiment's folder has it. A field that it does not name,
            as an earlier version began it, counts only where it is not the default: the teachers
            that are there keep their names. None counts all fields.
    """
    space = {} if named is None else named
    sections = {"data": spec.data, "teacher": spec.teacher}
    parts = [
        section.model_dump(mode="json") if named is None else known(section, space.get(name))
        for name, section in sections.items()
    ]
    digest = hashlib.sha256(json.dumps([*parts, seed]).encode()).hexdigest()
    return f"teachers/{spec.name}-{digest[:10]}-{seed}"


def known(section: BaseModel, named: Any) -> dict[str, Any]:
    """The fields of a section that are named or differ from their defaults, as JSON has them."""
    names = named if isinstance(named, Mapping) else {}
    changed = section.model_dump(mode="json", exclude_defaults=True)
    fields: dict[str, Any] = {}
    for name, value in section.model_dump(mode="json").items():
        inner = getattr(section, name)
        if isinstance(inner, BaseModel) and isinstance(names.get(name), Mapping):
            fields[name] = known(inner, names[name])
        elif name in names or name in changed:
            fields[name] = value
    return fields


def label_of(cell: Mapping[str, str]) -> str:
    """A cell in words; fields of the space go without their section."""
    return " ".join(f"{key.removeprefix('space.')}={value}" for key, value in cell.items())


def factors(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Varied fields and their values from texts such as ``space.connection=[none, dense]``.

    Raises:
        SpecError: if a text is not of this form, or a field is given twice.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, _, listed = text.partition("=")
        try:
            values = parse_yaml(listed)
        except YamlError:
            values = None
        if not isinstance(values, list) or len(values) < 2 or not key:
            raise SpecError(
                f"--vary {text!r} must be a field and a list of at least two values, such as "
                f"'space.connection=[none, dense]'."
            )
        if key in found:
            raise SpecError(f"--vary names {key} twice; give one list.")
        found[key] = values
    return found


def cell_of(text: str) -> dict[str, Any]:
    """A cell from a text such as ``space.label_share=0 teacher.crossfit=10``.

    Raises:
        SpecError: if the text is not of this form.
    """
    found: dict[str, Any] = {}
    try:
        for part in shlex.split(text):
            key, separator, value = part.partition("=")
            if not separator or not key:
                raise ValueError(part)
            found[key] = parse_yaml(value)
    except ValueError:
        found = {}
    if not found:
        raise SpecError(
            f"--cell {text!r} must be one or more FIELD=VALUE, such as "
            f"'space.skip=true space.connection=dense'; put values with spaces in quotes."
        )
    return found


def cells_of(varied: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the varied fields' values; none if nothing varies."""
    if not varied:
        return []
    return [
        dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())
    ]


def runs_of(
    specs: Sequence[Source],
    cells: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
) -> list[Run]:
    """All searches of an experiment, seed by seed, so that early results cover all cells.

    Args:
        specs: search spaces, one a data set.
        cells: values of the varied fields.
        seeds: every cell is searched with each.

    Raises:
        SpecError: if a search space, a field or a value is wrong.
    """
    return [
        _run(source, cell, seed) for seed, source, cell in itertools.product(seeds, specs, cells)
    ]


def _run(source: Source, cell: Mapping[str, Any], seed: int) -> Run:
    values = {key: value for key, value in cell.items() if key != METHOD}
    values |= OUR_METHODS.get(cell.get(METHOD, ""), {})
    changes = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    fixed = [f"seed={seed}", "workers.count=0"]
    spec = load_spec(source, [*changes, *fixed])
    named = source if isinstance(source, Mapping) else None
    return Run(spec.name, as_text(cell), seed, spec, teacher_folder_of(spec, seed, named))


def with_reached_classes(run: Run) -> Run:
    """The run without classes that no trial of a round reaches: the same search.

    Earlier versions took such ladders; a search refuses them (:mod:`bdistil.searching.resolve`).
    """
    ladder = run.spec.space.ladder or []
    reached = run.spec.search.reached_classes(len(ladder))
    if reached >= len(ladder):
        return run
    space = run.spec.space.model_copy(update={"ladder": ladder[:reached]})
    return replace(run, spec=run.spec.model_copy(update={"space": space}))


def as_text(cell: Mapping[str, Any]) -> dict[str, str]:
    """A cell with its values as text, which names its runs' folders."""
    return {key: _shown(value) for key, value in cell.items()}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
