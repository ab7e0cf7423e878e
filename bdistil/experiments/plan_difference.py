"""Whether a folder holds the experiment that is asked for, and if not, how to go on with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bdistil.errors import SpecError
from bdistil.experiments.design import METHOD, as_text, label_of
from bdistil.spec import load_spec
from bdistil.spec.mistakes import shown
from bdistil.spec.yaml_text import YamlError, parse_yaml

MOST_OVERRIDES = 4
"""With more, one would rather give the search space as it was."""

KINDS = {"ablation": ("an ablation", "ablate"), "comparison": ("a comparison", "compare")}

Spaces = Mapping[str, Mapping[str, Any]]


class Asked(Protocol):
    """A :class:`~bdistil.experiments.plan.Plan`, as far as its difference to another one goes."""

    @property
    def kind(self) -> str:
        """Of an experiment."""

    @property
    def spaces(self) -> Spaces:
        """The search spaces by name."""

    @property
    def cells(self) -> Sequence[Mapping[str, Any]]:
        """What varies."""


@dataclass(frozen=True)
class Difference:
    """Why an experiment is another one.

    Attributes:
        what: differs first, in words.
        remedy: what to give to go on with the one that is there, in words.
    """

    what: str
    remedy: str


@dataclass(frozen=True)
class Change:
    """A field, such as ``space.recipe``, whose value in a search space is another one there."""

    space: str
    field: str
    there: Any
    here: Any


def difference(there: Asked, here: Asked) -> Difference | None:
    """In what two experiments differ first; None if they are one but for the question's words.

    Fields that one of them does not know, as it was begun by an earlier version, have their
    defaults; `seed` and `workers` of a search space, which the experiment sets, do not matter.
    """
    if there.kind != here.kind:
        kind, command = KINDS[there.kind]
        return Difference(kind, f"go on with it by `bdistil {command}`")
    return of_spaces(there.spaces, here.spaces) or of_cells(there, here)


def of_spaces(there: Spaces, here: Spaces) -> Difference | None:
    """The first difference between search spaces."""
    if there.keys() != here.keys():
        names = f"its search spaces are {', '.join(there)} there and {', '.join(here)} here"
        return Difference(names, "give the same to go on with it")
    try:
        begun = {name: completed(space) for name, space in there.items()}
    except SpecError as error:
        unknown = f"a search space there is none of this version: {str(error).rstrip('.')}"
        return Difference(unknown, "go on with it by the version that began it")
    asked = {name: completed(space) for name, space in here.items()}
    found = [each for name in begun for each in changes(name, begun[name], asked[name])]
    if not found:
        return None
    first, fields = found[0], dict.fromkeys(each.field for each in found)
    more = f", and {len(fields) - 1} more" if len(fields) > 1 else ""
    what = f"{first.field} of {first.space} is {shown(first.there)} there and "
    return Difference(f"{what}{shown(first.here)} here{more}", going_on(begun, list(fields)))


def completed(space: Mapping[str, Any]) -> dict[str, Any]:
    """A search space with the defaults of fields that it does not name, and what is heeded alone.

    Raises:
        SpecError: if it is not one, or no longer.
    """
    spec = load_spec(space)
    whole = spec.model_dump(mode="json", exclude={"seed", "workers"})
    return whole | {"workers": {"compile": spec.workers.compile}}


def changes(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Change]:
    """Fields that differ in a search space: whole ones, which can be given as overrides."""
    for section, old in there.items():
        new = here[section]
        if not (isinstance(old, dict) and isinstance(new, dict)):
            if old != new:
                yield Change(name, section, old, new)
            continue
        for key in old:
            if old[key] != new[key]:
                yield Change(name, f"{section}.{key}", old[key], new[key])


def going_on(there: Spaces, fields: list[str]) -> str:
    """How to ask for search spaces as they are there."""
    values = {field: [value_of(space, field) for space in there.values()] for field in fields}
    differ = any(value != of_all[0] for of_all in values.values() for value in of_all)
    if differ or len(fields) > MOST_OVERRIDES:
        return "give the search spaces as they are there to go on with it"
    overrides = " ".join(override(field, of_all[0]) for field, of_all in values.items())
    return f"give {overrides} to go on with it"


def value_of(space: Mapping[str, Any], field: str) -> Any:
    """The value of a field such as ``space.recipe``."""
    section, _, key = field.partition(".")
    return space[section][key] if key else space[section]


def override(field: str, value: Any) -> str:
    """As a shell takes it, such as ``space.recipe=accurate``."""
    return shlex.quote(f"{field}={value if reads_as_itself(value) else json.dumps(value)}")


def reads_as_itself(value: Any) -> bool:
    """Whether YAML takes a text without quotes as that text."""
    try:
        return isinstance(value, str) and bool(parse_yaml(value) == value)
    except YamlError:
        return False


def of_cells(there: Asked, here: Asked) -> Difference | None:
    """The first cell that one of two experiments has alone; their order does not matter."""
    old, new = ([as_text(cell) for cell in plan.cells] for plan in (there, here))
    alone = [(cell, "there and not here") for cell in old if cell not in new]
    alone += [(cell, "here and not there") for cell in new if cell not in old]
    if not alone:
        return None
    cell, where = alone[0]
    again = "the same --vary and --cell"
    if there.kind == "comparison":
        again = " ".join(f"--method {cell[METHOD]}" for cell in old)
    return Difference(f"the cell '{label_of(cell)}' is {where}", f"give {again} to go on with it")
