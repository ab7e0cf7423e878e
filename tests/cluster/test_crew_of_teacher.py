"""Several workers of a cluster train one teacher together."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import ray
from tiny import eventually, tiny

from bdistil.cluster import teacher_actor, teacher_crew, teacher_places
from bdistil.cluster.process_group import interface_of, is_parting
from bdistil.cluster.teacher_actor import teacher_on_worker
from bdistil.cluster.teacher_places import Places, places_to_be_had
from bdistil.core.cost import parameters
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilWarning, ClusterError, TeacherError
from bdistil.spec import Spec, WorkerSpec, load_spec
from bdistil.teachers.obtain import HERE

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]

DIGITS: dict[str, Any] = {
    "data": {"name": "digits"},
    "teacher": {"model": "cnn", "options": {"channels": [8, 16], "hidden": 32}, "epochs": 15},
    "workers": {"count": 1},
}
TWO = "teacher.workers=2"


def digits(*overrides: str) -> Spec:
    return load_spec(DIGITS, overrides)


def all_free() -> bool:
    return bool(ray.available_resources().get("CPU", 0) == 2)


def test_two_workers_train_what_one_process_would() -> None:
    spec, told = digits(TWO), []
    dataset = load_dataset(spec.data, spec.seed)
    with HERE.fit_teacher(dataset, spec, None) as alone:
        expected = alone.logits(dataset.test, None)
    with teacher_on_worker(dataset, spec, lambda *epoch: told.append(epoch)) as together:
        found = together.logits(dataset.test, None)
    right = [(logits.argmax(1) == dataset.test.y).mean() for logits in (found, expected)]
    assert right[0] > 0.95
    assert abs(right[0] - right[1]) < 0.02
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert told[-1][:2] == (15, 15)
    assert together.parameters == alone.parameters == parameters(together.network)
    assert not any("module" in name for name in together.network.state_dict())
    assert eventually(all_free)


def test_a_lost_worker_costs_the_training_not_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    Trainer, folder = teacher_actor.Trainer, tmp_path

    def first_time(what: str) -> bool:
        there = (folder / what).exists()
        (folder / what).touch()
        return not there

    def die_on_the_way() -> None:
        while not (folder / "epoch").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), 9)

    class Mortal(Trainer):  # defined in here, it travels by value
        def note(self, *epoch):  # type: ignore[no-untyped-def]
            Trainer.note(self, *epoch)
            (folder / "epoch").touch()

        def help(self, lesson, post):  # type: ignore[no-untyped-def]
            if first_time("help"):
                threading.Thread(target=die_on_the_way).start()
                lesson = lesson._replace(spec=endless)
            Trainer.help(self, lesson, post)

        def known(self, lesson, post):  # type: ignore[no-untyped-def]
            lesson = lesson._replace(spec=endless) if first_time("known") else lesson
            return Trainer.known(self, lesson, post)

    spec, endless = tiny(TWO), tiny(TWO, "teacher.epochs=100000")
    dataset = load_dataset(spec.data, spec.seed)
    monkeypatch.setattr(teacher_actor, "Trainer", Mortal)
    with HERE.fit_teacher(dataset, spec, None) as alone:
        expected = alone.logits(dataset.test, None)
    with (
        pytest.warns(BdistilWarning, match="a worker that trains the teacher was lost: the proc"),
        teacher_on_worker(dataset, spec) as teacher,
    ):
        np.testing.assert_allclose(teacher.logits(dataset.test, None), expected, atol=1e-2)


def test_losses_come_to_an_end_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(teacher_actor.Trainer):
        def help(self, lesson, post):  # type: ignore[no-untyped-def]
            os.kill(os.getpid(), 9)

    spec = tiny(TWO, "teacher.epochs=100000")
    monkeypatch.setattr(teacher_actor, "Trainer", Dying)
    monkeypatch.setattr(teacher_crew, "RERUNS", 0)
    with (
        pytest.raises(ClusterError, match=r"the teacher was lost with 1 workers: the process.*\.$"),
        teacher_on_worker(load_dataset(spec.data, spec.seed), spec),
    ):
        pass
    assert eventually(all_free)


def test_its_errors_are_told_at_once() -> None:
    spec = tiny(TWO, "teacher.lr=1e8", "teacher.epochs=30")
    dataset = load_dataset(spec.data, spec.seed)
    with (
        pytest.raises(TeacherError, match=r"teacher\.lr is 1e\+08"),
        teacher_on_worker(dataset, spec),
    ):
        pass


@pytest.mark.parametrize(
    ("asked", "workers", "free", "found", "said"),
    [
        (2, {"count": 8}, [(8, 0), (8, 0)], Places(2, 4, 0), None),
        (3, {"count": 24}, [(8, 0), (8, 0)], Places(3, 4, 0), None),  # 8 of each would be for two
        (
            4,
            {"count": 4, "cpus": 3},
            [(8, 0), (2, 0)],
            Places(2, 3, 0),
            "is room for 2 with 3 CPUs",
        ),
        (
            4,
            {"count": 8, "gpus": 0.25},
            [(8, 1), (8, 2)],
            Places(3, 1, 1),
            "3 with 1 CPU and 1 GPU",
        ),
        (4, {"count": 2, "autoscale": True}, [(1, 0)], Places(4, 1, 0), None),
        (2, {"count": 1}, [(1, 0)], Places(1, 1, 0), "room for 1 with 1 CPU each now, so one"),
        (2, {"count": 1}, [(0, 0)], Places(1, 1, 0), "room for 0 with 1 CPU each now, so one"),
    ],
)
def test_there_are_as_many_as_find_room(
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
    asked: int,
    workers: dict[str, Any],
    free: list[tuple[float, float]],
    found: Places,
    said: str | None,
) -> None:
    nodes = [{"CPU": float(cpus), "GPU": float(gpus)} for cpus, gpus in free]
    alive = [{"CPU": 8.0, "GPU": float(gpus)} for _, gpus in free]
    monkeypatch.setattr(teacher_places, "alive_nodes", lambda: alive)
    monkeypatch.setattr(teacher_places, "free_nodes", lambda: nodes)
    monkeypatch.setattr(teacher_places, "SECONDS_TO_SETTLE", 0.0)
    assert places_to_be_had(asked, WorkerSpec.model_validate(workers)) == found
    sentences = [str(each.message) for each in recwarn if "teacher.workers" in str(each.message)]
    assert (said in sentences[0]) if said else not sentences


def test_nobody_trains_without_a_row(recwarn: pytest.WarningsRecorder) -> None:
    spec = tiny("teacher.workers=9", "teacher.batch_size=5")
    rows = len(load_dataset(spec.data, spec.seed).train)
    assert teacher_actor.asked_workers(load_dataset(spec.data, spec.seed), spec) == 5
    assert rows % 5 == 0
    assert "there are batches of 5 rows" in str(recwarn.pop(BdistilWarning).message)


def test_workers_that_lose_each_other_are_told_from_faults() -> None:
    assert is_parting(RuntimeError("[gloo/pair.cc:545] Connection closed by peer [::1]:1"))
    assert not is_parting(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_parting(ValueError("a store"))
    assert interface_of("192.0.2.77") is None
    if sys.platform == "linux":
        assert interface_of("127.0.0.1") == "lo"
