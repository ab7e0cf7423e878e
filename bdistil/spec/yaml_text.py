"""YAML of people we do not know: plain values, none of them twice, and never more than it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
"""With every alias written out: a few nested anchors would otherwise fill any memory."""
LONGEST_NUMBER = 100  # characters of a number; Python refuses to read whole ones of thousands
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
OTHERWISE = {r"[-+]?0[0-7_]+": "to the base of 8", r"[-+]?[\d_]+(:[\d_.]+)+": "to the base of 60"}
"""Forms of numbers that hardly anybody means."""


class YamlError(ValueError):
    """What is wrong with a text, in words, without the file's name."""


def read_yaml(path: Path) -> Any:
    """The value in a file.

    Raises:
        OSError: if it cannot be read.
        YamlError: as :func:`parse_yaml`, or if it is larger than any spec.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise YamlError(f"it is larger than {MOST_BYTES >> 20} MiB, so it is no spec")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlError(f"it is no text in UTF-8 ({error.reason} at byte {error.start})") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """The value that a text holds, of YAML's plain types.

    Raises:
        YamlError: if it is no YAML, names a key twice, or its aliases refer to themselves or stand
            for more than any spec holds.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except YamlError:
        raise
    except RecursionError:
        raise YamlError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise YamlError(f"{error.problem}{line}") from None
    except yaml.YAMLError as error:
        raise YamlError(str(error).partition("\n")[0]) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        detail = " ".join(str(error).split())[:80]  # a value that does not fit its tag
        raise YamlError(f"a value cannot be read ({type(error).__name__}: {detail})") from None


def _count(node: yaml.Node, counted: dict[int, int | None]) -> int:
    """How many values a node holds with every alias written out; `counted` knows some nodes.

    Raises:
        YamlError: if they are too many, a node holds itself, or a key stands twice.
    """
    if id(node) in counted:
        known = counted[id(node)]
        if known is None:
            raise YamlError(f"{_line(node)} holds an alias of itself; write the value out")
        return known
    counted[id(node)] = None
    if node.tag in NUMBERS:
        _check_number(node)
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    total = 1
    for part in inner:
        total += _count(part, counted)
        if total > MOST_VALUES:
            raise YamlError(f"its aliases stand for more than {MOST_VALUES:,} values")
    counted[id(node)] = total
    return total


def _check_number(node: yaml.Node) -> None:
    """Refuse numbers that are longer than any, or that YAML reads otherwise than people do."""
    if len(node.value) > LONGEST_NUMBER:
        raise YamlError(f"{_line(node)} holds a number of {len(node.value):,} characters")
    for form, what in OTHERWISE.items():
        if re.fullmatch(form, node.value):
            raise YamlError(
                f"{_line(node)} holds {node.value}, which YAML takes for a number {what}; write it "
                f"in quotes, or as the number that is meant"
            )


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        name = (key.tag, str(key.value))
        if name in seen and key.tag != "tag:yaml.org,2002:merge":
            raise YamlError(f"key {key.value!r} stands twice, again in {_line(key)}; keep one")
        seen.add(name)


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
