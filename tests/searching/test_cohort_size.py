"""Small candidates train together where that is open, costs no choice and gains time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reporters import Heard, StopAfterOne
from tiny import TINY
from torch import nn

from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.searching.resolve import resolve
from bdistil.spec import Spec, load_spec
from bdistil.zoo import registry

SAME = (
    "space.recipe=accurate",
    "space.gamma={low: 3, high: 30, log: true}",
    "space.connection=dense",
    "search.select=best",
)
HERE, TWO = "workers.count=0", "workers.count=2"


def decided(*overrides: str) -> Spec:
    spec = load_spec(TINY, (*SAME, *overrides))
    return resolve(spec, load_dataset(spec.data, spec.seed))


@pytest.mark.parametrize(
    ("overrides", "tries", "cohort"),
    [
        ((HERE,), 8, 8),
        ((TWO,), 8, 4),
        (("workers.count=16",), 5 * 16 * 4, 4),
        ((HERE, "search.tries_per_class=3"), 3, 3),
        ((TWO, "search.tries_per_class=3"), 3, 2),
        ((HERE, "search.tries_per_class=100"), 100, 32),
        ((HERE, "search.pruner=halving"), 8, 8),
    ],
)
def test_a_worker_trains_all_it_gets_as_one(
    overrides: tuple[str, ...], tries: int, cohort: int
) -> None:
    spec = decided("search.tries_per_class=null", "search.trials_per_round=null", *overrides)
    assert (spec.search.tries_per_class, spec.search.cohort) == (tries, cohort)


@pytest.mark.parametrize(
    "override",
    [
        "space.recipe=[accurate, faithful]",
        "space.connection=[none, dense]",
        "space.options={mlp: {depth: [1, 2]}}",
        "space.early_accept=true",
        "space.ladder=[60000]",
        "search.select=first",
    ],
)
def test_one_by_one_where_it_costs_choices_or_gains_nothing(override: str) -> None:
    assert decided(HERE, "search.tries_per_class=3", override).search.cohort == 1


@pytest.mark.parametrize(
    ("most", "workers", "tries"), [(8, 0, 4), (5, 0, 4), (12, 2, 6), (40, 16, 20)]
)
def test_what_a_round_may_try_at_most_is_shared_among_the_classes(
    most: int, workers: int, tries: int
) -> None:
    overrides = (f"search.trials_per_round={most}", f"workers.count={workers}")
    assert decided("search.tries_per_class=null", *overrides).search.tries_per_class == tries


@pytest.mark.parametrize(("width", "cohort"), [(60_000, 3), (1_000_000, 1)])
def test_a_gpu_stacks_larger_students_and_not_the_largest(width: int, cohort: int) -> None:
    gpu = ("workers.count=1", "workers.gpus=1", "search.tries_per_class=3")
    assert decided(*gpu, f"space.ladder=[{width}]").search.cohort == cohort


def test_what_is_asked_for_is_kept() -> None:
    spec = decided(HERE, "search.cohort=2", "search.tries_per_class=null")
    assert (spec.search.tries_per_class, spec.search.cohort) == (4, 2)


def test_a_run_goes_on_with_the_cohorts_that_it_began_with(tmp_path: Path) -> None:
    spec = load_spec(TINY, (*SAME, HERE, "search.rounds=1"))
    launch_search(spec, tmp_path)
    stored = load_spec(tmp_path / "spec.yaml")
    assert stored.search.cohort == stored.search.tries_per_class == 2
    elsewhere = spec.model_copy(update={"workers": spec.workers.model_copy(update={"count": 2})})
    assert elsewhere.as_decided_in(stored).search.cohort == stored.search.cohort


@pytest.mark.parametrize("kept", ["cohort: 1", "cohort: null", ""])
def test_a_run_from_before_cohorts_were_open_goes_on_one_by_one(tmp_path: Path, kept: str) -> None:
    spec = load_spec(TINY, (*SAME, HERE, "search.rounds=2"))
    one_by_one = load_spec(TINY, (*SAME, HERE, "search.rounds=2", "search.cohort=1"))
    with pytest.raises(KeyboardInterrupt):
        launch_search(one_by_one, tmp_path, reporter=StopAfterOne())
    file = tmp_path / "spec.yaml"
    file.write_text(file.read_text().replace("cohort: 1", kept))
    rounds = launch_search(spec, tmp_path).run.journal.read()
    assert [{trial.cohort for trial in each.compared} for each in rounds] == [{1}, {1}]


def test_what_was_decided_is_said_unless_it_was_asked_for(tmp_path: Path) -> None:
    words = "candidates: 2 for each class, of which 2 train together"
    for place, asked in (("open", ()), ("asked", ("search.cohort=2",))):
        heard = Heard()
        spec = load_spec(TINY, (*SAME, HERE, "search.rounds=1", *asked))
        launch_search(spec, tmp_path / place, reporter=heard)
        assert (words in heard.said) == (not asked)


class Particular(nn.Module):
    """A body that insists on weights of its own, as users' may; a stack lends it views."""

    def __init__(self, input_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.features = width
        self.layer = nn.Linear(input_shape[0], width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.layer.weight, nn.Parameter):
            raise TypeError("not my weights")
        return self.layer(x)


def test_a_class_that_no_stack_takes_trains_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdistil.zoo.registry._STUDENTS", dict(registry._STUDENTS))
    registry.register_student("particular", domains=("tabular",), lr=0.01, growth=1.5)(Particular)
    spec = decided(HERE, "space.student=particular", "search.tries_per_class=3")
    assert spec.search.cohort == 1


class HalfFrozen(nn.Module):
    """A body that learns on features which stay as they are."""

    def __init__(self, input_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.features = width
        self.frozen = nn.Linear(input_shape[0], 16).requires_grad_(False)
        self.layer = nn.Linear(16, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.frozen(x)).relu()


def test_weights_that_shall_stay_as_they_are_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdistil.zoo.registry._STUDENTS", dict(registry._STUDENTS))
    registry.register_student("frozen", domains=("tabular",), lr=0.01, growth=1.5)(HalfFrozen)
    assert decided(HERE, "space.student=frozen").search.cohort == 1


class Dropping(nn.Module):
    """A body with an option that no stack knows how to draw."""

    def __init__(self, input_shape: tuple[int, ...], width: int, *, rate: float = 0.0) -> None:
        super().__init__()
        self.features = width
        self.layers = nn.Sequential(nn.Linear(input_shape[0], width), nn.Dropout(rate), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.parametrize(("rate", "cohort"), [(0.0, 3), (0.5, 1)])
def test_a_class_is_tried_with_the_options_that_it_trains_with(
    monkeypatch: pytest.MonkeyPatch, rate: float, cohort: int
) -> None:
    monkeypatch.setattr("bdistil.zoo.registry._STUDENTS", dict(registry._STUDENTS))
    registry.register_student("dropping", domains=("tabular",), lr=0.01, growth=1.5)(Dropping)
    options = f"space.options={{dropping: {{rate: {rate}}}}}"
    tries = "search.tries_per_class=3"
    assert decided(HERE, "space.student=dropping", options, tries).search.cohort == cohort


@pytest.mark.parametrize(("views", "cohort"), [("null", 1), ("false", 3)])
def test_copies_that_may_compete_are_a_choice(tmp_path: Path, views: str, cohort: int) -> None:
    random = np.random.default_rng(0)
    x, y = random.random((60, 3, 16, 16), np.float32), np.arange(60) % 2
    np.savez(tmp_path / "x.npz", x=x, y=y)
    source = {"path": str(tmp_path / "x.npz")}
    small = (
        "space={recipe: accurate, student: cnn, ladder: [1]}",
        "search.tries_per_class=3",
        HERE,
    )
    spec = load_spec({"name": "x", "data": source}, (*small, f"data.views={views}"))
    assert resolve(spec, load_dataset(spec.data, spec.seed)).search.cohort == cohort
