"""Cross-fitting on Ray's workers: the folds of one process, and its errors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import ray
from tiny import eventually, tiny

from bdistil.cluster import fold_actors as crossfit_workers
from bdistil.cluster.fold_actors import fit_on_workers
from bdistil.cluster.launch import launch_teacher
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import ClusterError, TeacherError
from bdistil.spec import Spec, load_spec
from bdistil.teachers.crossfit import folds_of
from bdistil.teachers.teacher_store import OUT_OF_FOLD

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore:the teacher's validation metric"),
]

HERE = ("workers.count=0", "search.rounds=2", "search.tries_per_class=1", "space.connection=dense")
CROSS = (*HERE, "teacher.crossfit=3", "teacher.epochs=2")


def trees(*overrides: str) -> Spec:
    """A teacher that repeats its labels: a fully grown tree."""
    return load_spec(
        {
            "data": {"name": "wine"},
            "teacher": {"model": "sklearn.tree:DecisionTreeClassifier", "crossfit": 4},
            "workers": {"count": 0},
        },
        overrides,
    )


def test_workers_fit_folds_to_the_same_bits_and_where_they_are_too_many_take_turns(
    tmp_path: Path,
) -> None:
    here = launch_teacher(tiny(*CROSS), tmp_path / "here").teacher.logits()
    there = launch_teacher(tiny(*CROSS, "workers.count=3"), tmp_path / "there").teacher.logits()
    np.testing.assert_array_equal(there[OUT_OF_FOLD], here[OUT_OF_FOLD])


def test_what_fails_in_a_worker_is_told_as_it_is(tmp_path: Path) -> None:
    spec = trees("workers.count=1", "teacher.options={max_depth: -3}")
    with pytest.raises(TeacherError, match=r"cannot be fitted.*teacher\.options"):
        launch_teacher(spec, tmp_path / "run")


def test_workers_stop_with_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = trees(
        "workers.count=2",
        "teacher.model=sklearn.neural_network:MLPClassifier",
        f"teacher.options={{max_iter: {10**9}, n_iter_no_change: {10**9}}}",  # endless
    )
    data = load_dataset(spec.data, spec.seed)

    def interrupt_once_all_work() -> None:
        if ray.available_resources().get("CPU", 0) == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(crossfit_workers, "check", interrupt_once_all_work)
    folds = fit_on_workers(data, spec, folds_of(data, 4, spec.seed))
    with pytest.raises(KeyboardInterrupt):
        next(folds)
    assert eventually(lambda: ray.available_resources().get("CPU", 0) == 2)


def test_a_fold_that_is_lost_with_every_worker_ends_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Dying:  # defined in here, it travels by value
        def fit(self, *_: object) -> None:
            os._exit(1)

    monkeypatch.setattr(crossfit_workers, "Fitter", Dying)
    spec = trees("workers.count=1")
    data = load_dataset(spec.data, spec.seed)
    with pytest.raises(ClusterError, match=r"a fold of teacher\.crossfit was lost with 3 workers"):
        next(fit_on_workers(data, spec, folds_of(data, 4, spec.seed)))
