"""Data sets of the user's own: named where they fail, and none takes another's name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from bdistil.datasets import catalogue
from bdistil.errors import DataError, SpecError
from bdistil.spec import DataSpec


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue.list_datasets()
    monkeypatch.setattr(catalogue, "_entries", dict(catalogue._entries))


def register(name: str, load: Callable[..., Any]) -> None:
    catalogue.register_dataset(
        name, domain="tabular", input_shape=(2,), classes=2, examples=9, source="here"
    )(load)


def broken(seed: int, validation: float, test: float) -> Any:
    raise OSError("the disk is gone")


def ending(seed: int, validation: float, test: float) -> Any:
    sys.exit("enough")


def no_dataset(seed: int, validation: float, test: float) -> Any:
    return [1, 2]


def refusing(seed: int, validation: float, test: float) -> Any:
    raise SpecError("data.options do not suit me; change them.")


@pytest.mark.parametrize(
    ("load", "error", "sentence"),
    [
        (broken, DataError, r"'mine', which cannot be loaded \(OSError: the disk is gone\); corr"),
        (ending, DataError, r"cannot be loaded \(SystemExit: it ends the program"),
        (no_dataset, DataError, r"'mine', which gives list; make the function .* give a bdistil\."),
        (refusing, SpecError, r"do not suit me"),
    ],
)
def test_what_fails_is_named(load: Callable[..., Any], error: type, sentence: str) -> None:
    register("mine", load)
    with pytest.raises(error, match=sentence):
        catalogue.load_dataset(DataSpec(name="mine"), 0)


def test_a_name_is_taken_once() -> None:
    register("mine", broken)
    for name in ("mine", "digits"):
        with pytest.raises(SpecError, match=f"data set name '{name}' is taken; register it under"):
            register(name, broken)


def test_bdistils_own_names_are_taken_before_they_are_asked_for() -> None:
    code = (
        "from bdistil.datasets.catalogue import register_dataset as r; "
        "r('digits', domain='image', input_shape=(1,), classes=2, examples=1, source='')(print)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SpecError: data set name 'digits' is taken" in done.stderr
