"""The contracts find what breaks them, and need no pytest."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bdistil.datasets import catalogue
from bdistil.datasets.bundled import digits
from bdistil.errors import SpecError
from bdistil.testing import check_dataset, check_student, check_teacher
from bdistil.zoo import register_student, register_teacher, registry

SHAPES = [(4,)]


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries of the test's own."""
    catalogue.list_datasets()
    for owner, name in (
        (registry, "_STUDENTS"),
        (registry, "_TEACHERS"),
        (catalogue, "_entries"),
    ):
        monkeypatch.setattr(owner, name, dict(getattr(owner, name)))


class Body(nn.Linear):
    """Keeps the contract."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__(shape[0], width)
        self.features = width


class Promising(Body):
    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__(shape, width)
        self.features = width + 1


class Normed(Body):
    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x)
        return features - features.mean(dim=0)


class Idle(Body):
    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__(shape, width)
        self.unused = nn.Parameter(torch.ones(1))


class Constant(Body):
    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__(shape, width)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)


class Stubborn(Body):
    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__(shape, 2)


class Moody(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if self.training else 1)


class Forgetful(Body):
    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__(shape, width)
        self.shift = torch.randn(width)  # no buffer

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shift.to(x.device)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (Promising, r"features are of shape \(6, 3\), not \(6, 4\)"),
        (Normed, "an example's features depend on its batch"),
        (Idle, "no gradient reaches unused"),
        (Constant, "bodies of two seeds are equal"),
        (Stubborn, r"FLOPs of widths 1, 2 and 5 are \[16, 16, 16\]; they must grow"),
        (Moody, "the body answers differently in training mode"),
        (Forgetful, "the body answers differently after saving and loading"),
    ],
)
def test_a_students_fault_is_named(body: type[Body], message: str) -> None:
    register_student("planted", domains=("tabular",), lr=0.1, growth=2)(body)
    with pytest.raises(AssertionError, match=f"planted: {message}"):
        check_student("planted", SHAPES)


def test_a_student_without_fault_passes() -> None:
    register_student("planted", domains=("tabular",), lr=0.1, growth=2)(Body)
    check_student("planted")


def network(shape: tuple[int, ...], outputs: int, *, width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], width), nn.Linear(width, outputs))


def one_output_more(shape: tuple[int, ...], outputs: int, *, width: int = 3) -> nn.Module:
    return network(shape, outputs + 1, width=width)


def deaf_to_options(shape: tuple[int, ...], outputs: int, *, width: int = 3) -> nn.Module:
    return network(shape, outputs)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (one_output_more, r"logits are of shape \(6, 4\), not \(6, 3\)"),
        (deaf_to_options, r"42 FLOPs by default and 42 with {'width': 9}"),
    ],
)
def test_a_teachers_fault_is_named(build: Callable[..., nn.Module], message: str) -> None:
    register_teacher("planted", domains=("tabular",))(build)
    with pytest.raises(AssertionError, match=f"planted: {message}"):
        check_teacher("planted", {"tabular": SHAPES}, larger={"width": 9})


def test_a_teacher_without_fault_passes() -> None:
    register_teacher("planted", domains=("tabular",))(network)
    check_teacher("planted", larger={"width": 9})


def doubled(seed: int, validation: float, test: float) -> catalogue.Dataset:
    dataset = digits(seed, validation, test)
    train = dataclasses.replace(dataset.train, x=dataset.train.x.astype(np.float64))
    return dataclasses.replace(dataset, name="planted", train=train)


def unseeded(seed: int, validation: float, test: float) -> catalogue.Dataset:
    return dataclasses.replace(digits(0, validation, test), name="planted")


def deaf_to_shares(seed: int, validation: float, test: float) -> catalogue.Dataset:
    return dataclasses.replace(digits(seed, 0.2, 0.2), name="planted")


@pytest.mark.parametrize(
    ("load", "examples", "message"),
    [
        (unseeded, 1000, "examples is 1000 as registered, 1797 as loaded"),
        (doubled, 1797, "features of the train split are no finite float32"),
        (unseeded, 1797, "the training split is the same for two seeds"),
        (deaf_to_shares, 1797, "the test split has 359 examples, not about 719"),
    ],
)
def test_a_data_sets_fault_is_named(
    load: Callable[..., catalogue.Dataset], examples: int, message: str
) -> None:
    catalogue.register_dataset(
        "planted",
        domain="image",
        input_shape=(1, 8, 8),
        classes=10,
        examples=examples,
        source="digits",
    )(load)
    with pytest.raises(AssertionError, match=f"planted: {message}"):
        check_dataset("planted")


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(SpecError, match="'planted' is no registered data set"):
        check_dataset("planted")


def test_neither_bdistil_nor_its_contracts_need_pytest() -> None:
    code = "import sys, bdistil, bdistil.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
