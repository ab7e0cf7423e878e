"""A kind of teacher of the user's own is held to the contract, and blamed for what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bdistil.data.dataset import Dataset, Split
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import TeacherError
from bdistil.spec import Spec, load_spec
from bdistil.teachers import select
from bdistil.teachers.obtain import check_teacher, obtain_teacher
from bdistil.teachers.source import Teacher
from bdistil.teachers.teacher_store import Logits, TeacherStore

Answer = Callable[[Split], Any]


class Service:
    """Answers what it is told to."""

    kind, can_refit = "service", False

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def check(self) -> None:
        pass

    def known_flops(self) -> None:
        pass

    def untrained_network(self) -> None:
        pass

    def obtain(self, rows: object = None, progress: object = None) -> Teacher:
        return Teacher(lambda split, answered: self.answer(split))


class Refittable(Service):
    can_refit = True


class Closed(Service):
    def obtain(self, rows: object = None, progress: object = None) -> Teacher:
        raise OSError("the line is dead")


class Careless(Service):
    def check(self) -> None:
        raise KeyError("url")


class Untaught(Service):
    def obtain(self, rows: object = None, progress: object = None) -> Any:
        return self.answer


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Service], Logits]:
    def asked(service: Service) -> Logits:
        monkeypatch.setattr(select, "_USERS", [lambda dataset, spec: service])
        dataset, spec = given()
        check_teacher(dataset, spec)
        return obtain_teacher(TeacherStore(tmp_path / "teacher"), dataset, spec)

    return asked


def given() -> tuple[Dataset, Spec]:
    spec = load_spec({"data": {"name": "cube", "options": {"examples": 60}}})
    return load_dataset(spec.data, spec.seed), spec


def right(split: Split) -> NDArray[np.float32]:
    return np.eye(4, dtype=np.float32)[split.y]


def unwilling(split: Split) -> Any:
    raise ConnectionResetError("no answer")


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        (Service(lambda split: np.ones((len(split), 5))), r"Service gives 5 outputs, but cube"),
        (Refittable(lambda split: np.ones((len(split), 5))), r"Refittable gives 5 outputs, but cu"),
        (Service(lambda split: right(split)[1:]), r"Service gives 35 answers to 36 examples; make"),
        (Service(lambda split: right(split) * np.nan), r"Service answers with NaN or infinity; ch"),
        (Service(lambda split: np.full((len(split), 4), 1e300)), r"answers with NaN or inf"),
        (Service(lambda split: [["no"] * 4] * len(split)), r"Service answers with <U2 of shape"),
        (Service(unwilling), r"own kind Service fails \(ConnectionResetError"),
        (Closed(right), r"own kind Closed fails \(OSError: the line is dead\); correct it"),
        (Careless(right), r"own kind Careless fails \(KeyError: 'url'\); correct it"),
        (Untaught(right), r"Untaught gives function when it is obtained; make it give a bdistil\."),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_is_named(
    ask: Callable[[Service], Logits], service: Service, sentence: str
) -> None:
    with pytest.raises(TeacherError, match=sentence):
        ask(service)


def test_answers_become_float32_and_centred(ask: Callable[[Service], Logits]) -> None:
    dataset, _ = given()
    logits = ask(Service(lambda split: right(split).astype(np.float64) * 4 + 7))["test"]
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, np.eye(4)[dataset.test.y] * 4 - 1)
