"""Mistakes in a nested model, as pydantic finds them, in one sentence for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from bdistil.errors import did_you_mean

TELLING = ("extra_forbidden", "too_short")


def first_problem(error: ValidationError, root: type[BaseModel]) -> str:
    """The most telling problem of a validation error of the model `root`, as one sentence."""
    # Of a union's branches, the one that got furthest into the value tells most; an unknown key
    # (often a misspelt one) tells more than the key it leaves missing, and a list without entries
    # is a list all the same.
    problem = max(
        error.errors(),
        key=lambda p: (p["type"] == "value_error", len(p["loc"]), p["type"] in TELLING),
    )
    *parents, last = problem["loc"] or (0,)
    location = [str(part) for part in parents if not _is_type_tag(part)]
    if problem["type"] == "extra_forbidden":
        return _unknown_key(root, location, str(last))
    if not _is_type_tag(last):
        location.append(str(last))
    field = ".".join(location) or "a key"
    if problem["type"] == "missing":
        return f"{field} is missing; add it to the spec."
    if problem["type"] == "model_type":
        keys = ", ".join(_section(root, location).model_fields)
        return f"{field} is {shown(problem['input'])}, but holds keys: {keys}."
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"] == "value_error":
        return f"{field}: {message}." if location else f"{message}."
    if problem["type"] == "string_type" and isinstance(problem["input"], bool):
        message += "; YAML takes on, off, yes and no for true and false, so put it in quotes"
    return f"{field} is {shown(problem['input'])}: {message}."


def first_fault(error: ValueError) -> str:
    """What is wrong first with a file that a program wrote, in a few words."""
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors(include_url=False)[0]
    place = ".".join(map(str, fault["loc"]))
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _is_type_tag(part: int | str) -> bool:
    """Whether pydantic added this part of a location to name a member of a union."""
    return (
        isinstance(part, int)
        or part in ("float", "int", "str", "bool", "Range")
        or part.startswith(("list[", "literal[", "function-", "constrained-"))
    )


def _unknown_key(root: type[BaseModel], parents: list[str], key: str) -> str:
    known = _section(root, parents).model_fields
    hint = did_you_mean(key, known) or f"known: {', '.join(known)}."
    return f"unknown key {'.'.join([*parents, key])!r}; {hint}"


def _section(root: type[BaseModel], location: list[str]) -> type[BaseModel]:
    """The model of the section at a location."""
    section = root
    for part in location:
        section = next(_member_types(section.model_fields[part].annotation), section)
    return section


def _member_types(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _member_types(part)


def shown(value: Any) -> str:
    """A value as messages show it: at most 60 characters."""
    return repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
