"""Arguments that nothing can be done with are told in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_ensembles import small_ensemble

import bdistil
from bdistil.errors import BdistilError
from bdistil.paths import fault_of_path

DIGITS = {"data": {"name": "digits"}}
LONG = "x" * 5000


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    small_ensemble(("mlp", 2, "none", True)).save_pretrained(folder)
    return folder


ODD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a long name": (lambda _: bdistil.Predictor(LONG), "has a name of 5,000 bytes"),
    "a long name among others": (
        lambda saved: bdistil.Ensemble.from_pretrained(saved / LONG / "b"),
        "has a name of 5,000 bytes",
    ),
    "a NUL to load": (lambda _: bdistil.Predictor("a\0b"), "holds a NUL"),
    "a NUL to save": (
        lambda saved: bdistil.Ensemble.from_pretrained(saved).save_pretrained("a\0b"),
        "holds a NUL",
    ),
    "a NUL to search": (lambda _: bdistil.search(DIGITS, "a\0b"), "holds a NUL"),
    "a long run": (lambda _: bdistil.search(DIGITS, LONG), "has a name of 5,000 bytes"),
    "a number as run": (
        lambda _: bdistil.search(DIGITS, 5),  # type: ignore[arg-type]
        "5 is no path but of type int",
    ),
    "bytes as run": (
        lambda _: bdistil.search(DIGITS, b"run"),  # type: ignore[arg-type]
        "is no path but of type bytes",
    ),
    "nothing as run": (lambda _: bdistil.search(DIGITS, ""), "'' is empty"),
    "half a character": (lambda _: bdistil.search(DIGITS, "a\ud800"), "holds half a character"),
    "data with a long name": (
        lambda _: bdistil.search({"data": {"path": LONG}}),
        "data.path: .* has a name of 5,000 bytes",
    ),
    "data with a NUL": (
        lambda _: bdistil.search({"data": {"path": "a\0b"}}),
        "data.path: .* holds a NUL",
    ),
    "weights without a name": (
        lambda _: bdistil.search({**DIGITS, "teacher": {"model": "m:f", "weights": ""}}),
        "teacher.weights: '' is empty",
    ),
    "one text as overrides": (
        lambda _: bdistil.search(DIGITS, overrides="search.rounds=2"),
        "overrides are 'search.rounds=2'; give a list",
    ),
    "no overrides at all": (
        lambda _: bdistil.search(DIGITS, overrides=None),  # type: ignore[arg-type]
        "overrides are None; give a list",
    ),
    "a number as address": (
        lambda _: bdistil.search(DIGITS, address=5),  # type: ignore[arg-type]
        "address of a cluster is text .* not 5",
    ),
    "a number as override": (
        lambda _: bdistil.search(DIGITS, overrides=[5]),  # type: ignore[list-item]
        "override 5 is no text",
    ),
    "a batch beyond any memory": (
        lambda saved: bdistil.Predictor(saved).warm_up(10**15),
        "no memory for such a batch",
    ),
    "a batch beyond any number": (
        lambda saved: bdistil.Predictor(saved).warm_up(10**30),
        "no memory for such a batch",
    ),
    "text as a switch": (
        lambda saved: bdistil.Predictor(saved, product="yes"),  # type: ignore[arg-type]
        "product is 'yes'; give True or False",
    ),
    "outputs of no teacher": (
        lambda saved: bdistil.Predictor(saved, teacher_outputs="logits"),
        "teacher_outputs is 'logits' of no teacher",
    ),
    "outputs that no teacher has": (
        lambda saved: bdistil.Predictor(
            saved,
            teacher=len,
            teacher_outputs="odds",  # type: ignore[arg-type]
        ),
        "teacher_outputs is 'odds'; choose logits or probabilities",
    ),
    "examples without labels to measure on": (
        lambda saved: bdistil.Predictor(saved).policy(on=np.zeros((3, 6))),  # type: ignore[arg-type]
        r"on is of type ndarray; give a pair, on=\(x, y\)",
    ),
    "a threshold of text": (
        lambda _: bdistil.ExitPolicy("confidence", "x"),  # type: ignore[arg-type]
        "exit threshold is 'x'",
    ),
    "no threshold": (lambda _: bdistil.ExitPolicy("margin", float("nan")), "threshold is nan"),
    "an array to call": (
        lambda saved: bdistil.Ensemble.from_pretrained(saved)(np.zeros((1, 6), np.float32)),
        "is called with a tensor, not ndarray; predict takes",
    ),
    "a tensor without numbers": (
        lambda saved: bdistil.Ensemble.from_pretrained(saved).predict(
            torch.zeros(1, 6, device="meta")
        ),
        "device 'meta', which holds no numbers",
    ),
}


@pytest.mark.parametrize(("call", "message"), ODD.values(), ids=ODD)
def test_what_makes_no_sense_is_told(
    call: Callable[[Path], Any],
    message: str,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BdistilError, match=message):
        call(saved)
    assert not list(tmp_path.iterdir())


def test_names_of_255_bytes_are_paths() -> None:
    assert fault_of_path("a/" + "x" * 255 + "/b") is None
    assert fault_of_path("a/" + "ä" * 128) is not None
