"""Options of the architecture of students and teachers: keyword-only parameters of a builder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from bdistil.errors import SpecError, suggest


def options_of(build: Callable[..., Any]) -> type[BaseModel]:
    """A model whose fields are a builder's keyword-only parameters."""
    parameters = inspect.signature(build, eval_str=True).parameters.values()
    fields: dict[str, Any] = {p.name: _field(p) for p in parameters if p.kind is p.KEYWORD_ONLY}
    return create_model("Options", __config__=ConfigDict(extra="forbid", frozen=True), **fields)


def _field(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """The parameter as a pydantic field: without annotation anything goes."""
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    return annotation, ... if parameter.default is parameter.empty else parameter.default


def checked_options(
    name: str, model: type[BaseModel], options: Mapping[str, Any], kind: str, field: str
) -> dict[str, Any]:
    """Values of all options.

    Args:
        name: of the class.
        model: its options.
        options: those that are set.
        kind: ``student`` or ``teacher``.
        field: of the spec that sets them.

    Raises:
        SpecError: if an option or its value is unknown.
    """
    known = model.model_fields
    for option in options:
        if option not in known:
            hint = suggest(option, known) if known else "it has none"
            raise SpecError(f"{kind} {name!r} has no option {option!r}; {hint}.")
    try:
        return model.model_validate(options).model_dump()
    except ValidationError as error:
        problem = error.errors()[0]
        value, why = problem["input"], problem["msg"].lower().replace("tuple", "list")
        place = ".".join(str(part) for part in problem["loc"])
        raise SpecError(f"{field}.{place} is {value!r}: {why}.") from None


def written(value: Any) -> str:
    """A value as a class's name says it: ``cnn(kernel=5)``."""
    return value if isinstance(value, str) else json.dumps(value)


def read(word: str) -> Any:
    """The value that :func:`written` wrote."""
    try:
        return json.loads(word)
    except ValueError:
        return word
