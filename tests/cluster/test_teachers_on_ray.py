"""Teachers that a cluster's workers train: those of one process, with its progress and errors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import ray
from reporters import Heard
from tiny import eventually, tiny

import bdistil
from bdistil.cluster import teacher_actor, teacher_crew, teacher_places
from bdistil.cluster.launch import launch_teacher
from bdistil.cluster.teacher_actor import teacher_on_worker
from bdistil.cluster.teacher_places import cpus_to_be_had, most_cpus, most_gpus
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilWarning, TeacherError
from bdistil.spec import WorkerSpec, load_spec

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore:the teacher's validation metric"),
]

ONE = ("workers.count=1", "teacher.epochs=3", "search.rounds=1", "search.tries_per_class=1")


def test_a_worker_trains_what_this_process_would(tmp_path: Path) -> None:
    heard = Heard()
    there = launch_teacher(tiny(*ONE), tmp_path / "there", reporter=heard).teacher
    here = launch_teacher(tiny(*ONE, "workers.count=0"), tmp_path / "here").teacher
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(there.logits()[split], here.logits()[split])
    assert there.card() == here.card()
    assert there.weights_file.read_bytes() == here.weights_file.read_bytes()
    assert heard.epochs[-1:] == [3]


def test_it_was_not_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the driver trained")

    monkeypatch.setattr("bdistil.teachers.trained.train_teacher", refused)
    assert launch_teacher(tiny(*ONE), tmp_path / "run").teacher.exists


def test_an_estimator_is_fitted_there_and_answers_about_copies(tmp_path: Path) -> None:
    spec = {
        "data": {"name": "wine", "views": {"copies": 2, "noise": 0.1}},
        "teacher": {"model": "sklearn.tree:DecisionTreeClassifier", "options": {"max_depth": 3}},
    }
    both = [
        launch_teacher(load_spec(spec, [f"workers.count={n}"]), tmp_path / str(n)).teacher
        for n in (0, 1)
    ]
    here, there = (each.all_logits() for each in both)
    assert here.keys() == there.keys()
    for name, logits in here.items():
        np.testing.assert_array_equal(there[name], logits)


def test_its_errors_are_told_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"teacher\.lr is 1e\+08"):
        launch_teacher(tiny(*ONE, "teacher.lr=1e8", "teacher.epochs=30"), tmp_path / "run")


def test_a_teacher_whose_worker_is_lost_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer = teacher_actor.Trainer

    class Mortal(Trainer):  # defined in here, it travels by value
        def logits(self, lesson, split):  # type: ignore[no-untyped-def]
            if not ray.get_runtime_context().was_current_actor_reconstructed:
                os.kill(os.getpid(), 9)
            return Trainer.logits(self, lesson, split)

    spec = tiny(*ONE)
    dataset = load_dataset(spec.data, spec.seed)
    with teacher_on_worker(dataset, spec) as teacher:
        expected = teacher.logits(dataset.test, None)
    monkeypatch.setattr(teacher_actor, "Trainer", Mortal)
    with teacher_on_worker(dataset, spec) as teacher:
        np.testing.assert_array_equal(teacher.logits(dataset.test, None), expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_stops_with_the_driver(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    spec = tiny(*ONE, "teacher.epochs=1000000", f"teacher.workers={workers}")
    dataset = load_dataset(spec.data, spec.seed)

    def interrupt_once_it_works() -> None:
        if ray.available_resources().get("CPU", 0) <= 2 - workers:
            raise KeyboardInterrupt

    monkeypatch.setattr(teacher_crew, "check", interrupt_once_it_works)
    with pytest.raises(KeyboardInterrupt), teacher_on_worker(dataset, spec):
        pass
    assert eventually(lambda: ray.available_resources().get("CPU", 0) == 2)


def test_it_takes_what_all_trials_have_as_far_as_a_node_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [{"CPU": 4.0}, {"CPU": 16.0}, {"CPU": 8.0, "GPU": 1.0}]
    monkeypatch.setattr(teacher_places, "alive_nodes", lambda: nodes)

    def taken(**workers: float) -> tuple[float, float]:
        spec = WorkerSpec.model_validate(workers)
        return most_cpus(spec), most_gpus(spec)

    assert taken(count=3) == (3, 0)
    assert taken(count=40) == (16, 0)
    assert taken(count=4, cpus=3, gpus=0.25) == (8, 1)
    assert taken(count=2, gpus=0.25) == (2, 0.5)
    assert taken(count=2, cpus=12) == (16, 0)


def test_features_in_a_file_do_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a worker was asked")

    monkeypatch.setattr("bdistil.cluster.ray_backend.teacher_on_worker", refused)
    random = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", random.normal(size=(60, 4)).astype(np.float32))
    np.save(tmp_path / "y.npy", np.arange(60) % 2)
    monkeypatch.setattr("bdistil.cluster.ray_backend.fit_on_workers", refused)
    overrides = ["workers.count=1", "teacher.epochs=1", "teacher.crossfit=2"]
    spec = load_spec({"data": {"path": str(tmp_path)}}, overrides)
    assert launch_teacher(spec, tmp_path / "run").teacher.exists


def test_it_settles_for_what_is_free_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}]
    free = [{"CPU": 8.0}, {"CPU": 3.0, "GPU": 1.0}]
    monkeypatch.setattr(teacher_places, "alive_nodes", lambda: nodes)
    monkeypatch.setattr(teacher_places, "free_nodes", lambda: free)
    monkeypatch.setattr(teacher_places, "SECONDS_TO_SETTLE", 0.0)

    def taken(**workers: float) -> float:
        return cpus_to_be_had(WorkerSpec.model_validate(workers))

    assert taken(count=8) == 8
    assert taken(count=8, autoscale=True, gpus=1) == 8
    with pytest.warns(BdistilWarning, match="with 3 CPUs and 1 GPU instead of 8 CPUs, as the rest"):
        assert taken(count=8, gpus=1) == 3
    free[1]["GPU"] = 0.0
    with pytest.warns(BdistilWarning, match="with 1 CPU .* in use; it waits for a place"):
        assert taken(count=8, gpus=1) == 1


def test_it_says_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_crew, "SECONDS_BEFORE_WORD", 0.0)
    spec = tiny(*ONE, "workers.count=2")
    dataset = load_dataset(spec.data, spec.seed)

    @ray.remote(num_cpus=2)
    class Occupant:
        def here(self) -> bool:
            return True

    occupant = Occupant.remote()
    assert ray.get(occupant.here.remote())
    looks: list[None] = []

    def leave_after_a_while() -> None:
        looks.append(None)
        if len(looks) == 3:
            ray.kill(occupant)

    monkeypatch.setattr(teacher_crew, "check", leave_after_a_while)
    with (
        pytest.warns(
            BdistilWarning, match=r"waits for a worker with 1 CPU on one node: the cluster"
        ),
        pytest.warns(BdistilWarning, match=r"trained with 1 CPU instead of 2 CPUs"),
        teacher_on_worker(dataset, spec) as teacher,
    ):
        assert len(teacher.logits(dataset.test, None)) == len(dataset.test)


def test_rows_that_it_has_are_asked_for_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    Trainer = teacher_actor.Trainer

    class Strict(Trainer):  # defined in here, it travels by value
        def logits(self, lesson, asked):  # type: ignore[no-untyped-def]
            assert isinstance(asked, tuple), "rows were sent"
            return Trainer.logits(self, lesson, asked)

    spec = tiny(*ONE)
    dataset = load_dataset(spec.data, spec.seed)
    monkeypatch.setattr(teacher_actor, "Trainer", Strict)
    monkeypatch.setattr(teacher_actor, "ROWS", 50)
    with teacher_on_worker(dataset, spec) as teacher:
        rows = teacher.logits(dataset.test, None)
        with pytest.raises(ray.exceptions.RayTaskError, match="rows were sent"):
            teacher.logits(dataset.test.take(slice(0, 5)), None)
    assert rows.shape == (len(dataset.test), dataset.outputs)


def test_a_search_has_its_teacher_from_a_worker(tmp_path: Path) -> None:
    found = bdistil.search(tiny(*ONE), tmp_path / "run")
    assert found.rounds
