"""Reading a spec from YAML or a mapping, with ``key=value`` overrides."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from bdistil.errors import SpecError
from bdistil.spec.mistakes import first_problem, shown
from bdistil.spec.whole import Spec
from bdistil.spec.yaml_text import YamlError, parse_yaml, read_yaml

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


def load_spec(
    source: Path | str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    options: Mapping[str, str] = NO_OPTIONS,
) -> Spec:
    """Read a spec from a YAML file or a mapping and apply ``key=value`` overrides.

    Args:
        source: path of a YAML file, or the spec as a mapping. A relative ``data.path`` in a file
            is taken relative to the working directory.
        overrides: such as ``"search.rounds=4"`` or ``"space.lr={low: 0.01, high: 0.1}"``; the value
            is YAML.
        options: those overrides that come from an option such as ``--rounds``, with its name.

    Raises:
        SpecError: if the file is missing or not YAML, or a key or value is wrong.
    """
    is_file = isinstance(source, str | Path)
    tree = _read_yaml(Path(source)) if isinstance(source, str | Path) else _copy(source)
    if isinstance(overrides, str | bytes) or not isinstance(overrides, Iterable):
        raise SpecError(f"overrides are {shown(overrides)}; give a list of 'key=value'.")
    overrides = list(overrides)
    changed = reduce(_changed, overrides, tree)
    _refuse_huge(changed)
    try:
        return Spec.model_validate(changed)
    except ValidationError as error:
        problem, origin = first_problem(error, Spec), ""
        if culprit := _culprit(tree, overrides):
            shown_as = f"override {shown(culprit)}" if is_file else ""
            origin = options.get(culprit, shown_as)
        elif is_file and _problem_of(tree) == problem:
            origin = str(source)
        raise SpecError(f"{origin}: {problem}" if origin else problem) from None


def _culprit(tree: dict[str, Any], overrides: Sequence[str]) -> str | None:
    """The override without which nothing is wrong; None if there is no such one."""
    for index, override in enumerate(overrides):
        others = [*overrides[:index], *overrides[index + 1 :]]
        if not _problem_of(reduce(_changed, others, tree)):
            return override
    return None


def _problem_of(tree: dict[str, Any]) -> str:
    """What is wrong with a spec first; empty if nothing is."""
    try:
        Spec.model_validate(tree)
    except ValidationError as error:
        return first_problem(error, Spec)
    return ""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise SpecError(f"{path} is no file; give a YAML file.")
        if (path / "spec.yaml").is_file():
            raise SpecError(
                f"{path} is a run directory; go on with it by `bdistil resume {path}`, or give a "
                f"YAML file, such as its {path / 'spec.yaml'}."
            )
        tree = read_yaml(path)
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist; see search_spaces/ for examples.") from None
    except YamlError as error:
        raise SpecError(f"{str(path)!r} is not valid YAML: {error}.") from None
    except (OSError, ValueError) as error:  # such as a path that holds a NUL
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{str(path)!r} cannot be read: {reason}; give a YAML file.") from None
    if not isinstance(tree, dict):
        raise SpecError(f"{path} must hold keys such as data: and search:, not {shown(tree)}.")
    return tree


def _copy(source: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(source, Mapping):
        raise SpecError(f"the spec is {shown(source)}; give a YAML file or a mapping.")
    with contextlib.suppress(RecursionError):  # JSON tells
        _refuse_huge(source)
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(source), default=str))
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"the spec holds what YAML cannot: {error}.") from None
    return copied


def _refuse_huge(value: Any, place: str = "") -> None:
    """Refuse whole numbers of more than 64 bits, wherever they stand: nothing computes with them.

    Raises:
        SpecError: naming the key.
    """
    pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else ()
    pairs = enumerate(value) if isinstance(value, list | tuple) else pairs
    for key, inner in pairs:
        _refuse_huge(inner, f"{place}.{key}".lstrip("."))
    if isinstance(value, int) and value.bit_length() > 63:
        raise SpecError(
            f"{place} is a whole number of {value.bit_length()} bits; give one of at most 63."
        )


def _changed(tree: dict[str, Any], override: str) -> dict[str, Any]:
    """The tree with one override; the one that is given stays as it is."""
    if not isinstance(override, str):
        raise SpecError(f"override {shown(override)} is no text; give such as 'search.rounds=4'.")
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SpecError(f"override {override!r} must have the form key=value.")
    try:
        value = parse_yaml(text)
    except YamlError as error:
        raise SpecError(
            f"override {shown(override)}: what follows = is no YAML ({error}); put text in quotes."
        ) from None
    *parents, leaf = key.split(".")
    changed = branch = {**tree}
    for parent in parents:
        inner = branch.get(parent, {})
        if not isinstance(inner, dict):
            raise SpecError(f"override {override!r}: {parent!r} holds a value, not keys.")
        branch[parent] = {**inner}
        branch = branch[parent]
    branch[leaf] = value
    return changed
