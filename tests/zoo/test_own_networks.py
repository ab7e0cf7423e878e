"""Students and teachers of the user's own are tried before anything is trained, and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from torch import Tensor, nn

from bdistil.core.connections import _CONNECTIONS, Connection, Hidden
from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilError, SpecError, TeacherError
from bdistil.searching.resolve import check_students, resolve
from bdistil.spec import Spec, load_spec
from bdistil.teachers.obtain import check_teacher
from bdistil.zoo import register_student, register_teacher, registry
from bdistil.zoo.dry_run import check_connection_runs

Build = Callable[..., Any]


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STUDENTS", "_TEACHERS"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def linear(inputs: int, outputs: int, **attributes: object) -> nn.Module:
    network = nn.Linear(inputs, outputs)
    for name, value in attributes.items():
        setattr(network, name, value)
    return network


class Looking(nn.Linear):
    """Looks at values, which the device meta has not."""

    features = 3

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float(x.sum())


class Pair(nn.Linear):
    features = 3

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


def refuse() -> nn.Module:
    raise ValueError("no such luck")


def given(**fields: Any) -> tuple[Dataset, Spec]:
    spec = load_spec({"data": {"name": "cube", "options": {"examples": 60}}} | fields)
    return load_dataset(spec.data, spec.seed), spec


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (refuse, TeacherError, r"and 4 outputs \(ValueError: no such luck\); correct the class"),
        (lambda: 5, TeacherError, r"'mine' gives int; make it give a torch\.nn\.Module"),
        (lambda: linear(16, 5), TeacherError, r"'mine' gives \(B, 5\) instead of \(B, 4\); correc"),
        (lambda: linear(9, 4), TeacherError, r"'mine' fails \(RuntimeError: .*; correct the class"),
        (lambda: Pair(16, 4), TeacherError, r"'mine' gives tuple; correct the class, which has"),
        (lambda: Looking(16, 4), TeacherError, r"'mine' fails .* on torch's device meta too\."),
    ],
)
def test_a_teachers_fault_is_told_before_it_is_trained(
    build: Build, error: type[BdistilError], sentence: str
) -> None:
    register_teacher("mine", domains=("tabular",))(lambda input_shape, outputs: build())
    dataset, spec = given(teacher={"model": "mine"})
    with pytest.raises(error, match=sentence):
        check_teacher(dataset, spec)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: 5, r"'mine' gives int with width 3; make it give a torch\.nn\.Module"),
        (lambda: linear(16, 3), r"has body\.features None, which is no int; correct the class"),
        (lambda: linear(16, 3, features=3.0), r"has body\.features 3\.0, which is no int"),
        (lambda: linear(16, 3, features=4), r"gives \(B, 3\) instead of \(B, 4\); correct the cla"),
        (lambda: linear(9, 3, features=3), r"'mine' fails \(RuntimeError: .*to features \(B, body"),
        (lambda: Looking(16, 3), r"'mine' fails .* on torch's device meta too\."),
        (lambda: Pair(16, 3), r"'mine' gives tuple; correct the class, whose body has to map flo"),
    ],
)
def test_a_students_fault_is_told_before_a_teacher_is_trained(build: Build, sentence: str) -> None:
    own = register_student("mine", domains=("tabular",), lr=0.01, growth=1.5)
    own(lambda input_shape, width: build())
    dataset, spec = given(space={"student": "mine", "ladder": [3]})
    with pytest.raises(SpecError, match=sentence):
        check_students(spec.space, dataset)


class Fitting(Connection):
    def forward(self, own: Tensor, earlier: Sequence[Hidden]) -> Hidden:
        return Hidden(own + sum(hidden.features for hidden in earlier))


class Bare(Fitting):
    def forward(self, own: Tensor, earlier: Sequence[Hidden]) -> Any:
        return own


class Wide(Fitting):
    def __init__(self, own: int, earlier: Sequence[int]) -> None:
        super().__init__(own, earlier)
        self.features = own + 1


class Previous(Fitting):
    def forward(self, own: Tensor, earlier: Sequence[Hidden]) -> Hidden:
        return earlier[-1]


class GatedPrevious(Previous):
    gates = True


@pytest.mark.parametrize(
    ("connection", "sentence"),
    [
        (Bare, r"'mine' fails \(AttributeError: .* after 0 earlier students; correct the class"),
        (Wide, r"'mine' gives features \(B, 3\) with features=4 after 0 earlier students"),
        (Previous, r"'mine' fails \(IndexError: .*which has to give Hidden of features \(B"),
    ],
)
def test_a_connections_fault_is_named(
    monkeypatch: pytest.MonkeyPatch, connection: type[Connection], sentence: str
) -> None:
    monkeypatch.setitem(_CONNECTIONS, "mine", connection)
    dataset, spec = given(space={"connection": ["dense", "mine"]})
    with pytest.raises(SpecError, match=sentence):
        resolve(spec, dataset)


@pytest.mark.parametrize("connection", [Fitting, GatedPrevious, *_CONNECTIONS.values()])
def test_a_connection_that_keeps_the_contract_passes(
    monkeypatch: pytest.MonkeyPatch, connection: type[Connection]
) -> None:
    monkeypatch.setitem(_CONNECTIONS, "mine", connection)
    check_connection_runs("mine")


def test_what_keeps_the_contract_passes() -> None:
    own = register_student("mine", domains=("tabular",), lr=0.01, growth=1.5)
    own(lambda input_shape, width: linear(16, width, features=width))
    register_teacher("mine", domains=("tabular",))(lambda input_shape, outputs: linear(16, outputs))
    dataset, spec = given(space={"student": "mine"}, teacher={"model": "mine"})
    check_students(spec.space, dataset)
    check_teacher(dataset, spec)
