"""Inputs that nobody would write: content that is damaged, values of the wrong kind."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tally import tally

from bdistil.errors import BdistilError

FACTOR = int(os.environ.get("BDISTIL_FUZZ", "1"))
"""Times as many cases as usual; the nightly run sets it."""

Test = TypeVar("Test", bound=Callable[..., Any])


def fuzz(cases: int) -> Callable[[Test], Test]:
    """So many cases, or `FACTOR` times as many; each may take as long as it likes."""
    unchecked = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=cases * FACTOR, deadline=None, suppress_health_check=unchecked, database=None
    )


HOSTILE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3.5, -0.0, 2**31, 2**63, -(2**63), 10**30, 1e308, 1e-320),
    *(math.inf, -math.inf, math.nan, "", " ", "\x00", "a" * 300, "é", "𝒳", "../../etc", "1", "-1"),
    *("nan", "null", "true", "[", "{", "~", "%s", "$HOME", "file:///", "s3://x", "a:b", "\n"),
    *([], {}, [None], [[]], {"": None}, {"low": 1, "high": 0}, {"low": 1}, [1, "a"], [1, 1]),
]
hostile = st.sampled_from(HOSTILE).map(copy.deepcopy) | st.recursive(
    st.integers() | st.floats() | st.text(max_size=5) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def places_in(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value of nested dictionaries and lists."""
    yield path
    pairs = tree.items() if isinstance(tree, dict) else ()
    pairs = enumerate(tree) if isinstance(tree, list) else pairs
    for key, inner in pairs:
        yield from places_in(inner, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, tree: Any) -> Any:
    """Nested dictionaries and lists of which a few values are others, missing or more."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([each for each in places_in(tree) if each] or [()]))
        if not path:
            return draw(hostile)
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        change = draw(st.sampled_from(("replace", "delete", "add", "twice")))
        if change == "delete":
            del parent[path[-1]]
        elif change == "add" and isinstance(parent, dict):
            parent[draw(st.text(max_size=5))] = draw(hostile)
        elif change == "twice" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        else:
            parent[path[-1]] = draw(hostile)
    return tree


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Content of a file after a few accidents."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        size = max(1, len(changed))
        place = draw(st.integers(0, size - 1))
        end = min(len(changed), place + draw(st.integers(1, 40)))
        accident = draw(st.sampled_from(("flip", "cut", "drop", "insert", "repeat", "zero")))
        if accident == "flip" and changed:
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif accident == "cut":
            del changed[place:]
        elif accident == "drop":
            del changed[place:end]
        elif accident == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=20))
        elif accident == "repeat":
            changed[place:place] = changed[place:end] * draw(st.integers(1, 50))
        else:
            changed[place:end] = bytes(end - place)
    return bytes(changed)


@contextmanager
def right_or_one_sentence() -> Iterator[None]:
    """The body may succeed, or end in an error of ours that is one readable sentence."""
    room = os.environ["PYTEST_CURRENT_TEST"].partition("test_fuzz_")[2].partition(".")[0]
    tally(f"hostile inputs: {room}")
    try:
        yield
    except BdistilError as error:
        said = str(error)
        assert 10 < len(said) < 2_000, said
        assert "Traceback" not in said
        assert "errors.pydantic.dev" not in said, said
        assert "object at 0x" not in said, said


def write(path: Path, content: bytes) -> Path:
    """A file with that content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
