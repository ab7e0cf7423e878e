"""Each of Ray's errors: a trial that meets it runs elsewhere, and a search ends in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import ray
import ray.exceptions as theirs
from ray.air.execution import FixedResourceManager
from ray.air.execution._internal import actor_manager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import RayError, RayTaskError

from bdistil.cluster.deaths import PLACES, deaths_known
from bdistil.cluster.lost_worker import losses_named, why_lost
from bdistil.cluster.tasks import result_of
from bdistil.cluster.trainable import TrialWorker
from bdistil.errors import ClusterError, DataError
from bdistil.runs.trial import Cohort, TrialRequest

LOW = "Task was killed due to the node running low on memory.\nMemory on the node (IP: 192.0.2.7)"

ARGUMENTS: dict[type[RayError], tuple[Any, ...]] = {
    theirs.RayTaskError: (
        "f",
        "Traceback:\nValueError: no such thing",
        ValueError("no such thing"),
    ),
    theirs.CrossLanguageError: (),
    theirs.ActorUnavailableError: ("it restarts", None),
    theirs.ActorDiedError: (),
    theirs.RayActorError: (),
    theirs.TaskCancelledError: (),
    theirs.ObjectReconstructionFailedError: ("ab" * 28,),
    theirs.OutOfMemoryError: (LOW,),
    theirs.NodeDiedError: ("Task failed because its node has died",),
}


def subclasses(kind: type[RayError]) -> Iterator[type[RayError]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("ray."):
            yield each
            yield from subclasses(each)


def instance(kind: type[RayError]) -> RayError:
    if kind is theirs.CrossLanguageError:
        return kind.__new__(kind, "Java raised")
    lost = issubclass(kind, theirs.ObjectLostError)
    return kind(*ARGUMENTS.get(kind, ("ab" * 28, None, "") if lost else ("words of Ray",)))


ALL = sorted(set(subclasses(RayError)), key=lambda kind: kind.__name__)
DEATHS = [kind for kind in ALL if not issubclass(kind, RayTaskError)]


def test_the_errors_are_found() -> None:
    assert {theirs.OutOfMemoryError, theirs.OwnerDiedError, theirs.NodeDiedError} <= set(ALL)
    assert len(ALL) > 35


def heard_by_tune(error: RayError) -> list[str]:
    """What Tune's manager of actors tells of a task that ended with an error."""
    manager = actor_manager.RayActorManager(FixedResourceManager(total_resources={"CPU": 1}))
    manager._cleanup_actor = lambda tracked_actor: None  # there is none
    heard: list[str] = []
    actor = TrackedActor(1, on_error=lambda *_: heard.append("actor"))
    task = TrackedActorTask(actor, on_error=lambda *_: heard.append("task"))
    manager._actor_task_failed(task, error)
    return heard


@pytest.mark.parametrize("kind", DEATHS, ids=lambda kind: kind.__name__)
def test_tune_takes_it_for_the_death_of_an_actor(kind: type[RayError]) -> None:
    with deaths_known():
        assert heard_by_tune(instance(kind)) == ["actor", "task"]


def test_what_a_trial_raises_itself_is_no_death() -> None:
    with deaths_known():
        assert heard_by_tune(instance(RayTaskError)) == ["task"]


def test_tune_is_left_as_it_was() -> None:
    with pytest.raises(KeyError), deaths_known():
        raise KeyError
    assert all(place.RayActorError is theirs.RayActorError for place in PLACES)
    with pytest.raises(RuntimeError, match="unexpected exception"):  # or deaths.py can go
        heard_by_tune(instance(theirs.OutOfMemoryError))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_it_ends_a_search_in_one_sentence(kind: type[RayError]) -> None:
    with pytest.raises(ClusterError) as caught, losses_named():
        raise instance(kind)
    sentence = str(caught.value)
    assert sentence.startswith("Ray lost a part of the search that has no stand-in: ")
    assert sentence.endswith("; the same command goes on after the last accepted round.")
    assert "\n" not in sentence
    assert len(sentence) < 500


@pytest.mark.parametrize("kind", DEATHS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_task_that_meets_it_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, kind: type[RayError], wrapped: bool
) -> None:
    error = instance(kind)

    def get(_: Any) -> Any:
        raise RayTaskError("f", str(error), error) if wrapped else error

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(ClusterError, match=r"^a fold was lost with 3 workers: [^\n]+\.$"):
        result_of(None, "a fold")


def test_what_a_task_raises_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(_: Any) -> Any:
        raise RayTaskError("f", "", DataError("a column is missing"))

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(DataError, match="a column is missing"):
        result_of(None)
    with pytest.raises(DataError, match="a column is missing"), losses_named():
        get(None)


@pytest.mark.parametrize("kind", DEATHS, ids=lambda kind: kind.__name__)
def test_a_trial_that_meets_it_has_not_failed_but_leaves_its_worker(kind: type[RayError]) -> None:
    request = TrialRequest(round=1, number=0, rung=0, attempt=0, params={}, seed=0)

    class Board:
        def deposit(self, *_: Any) -> None:
            raise AssertionError

        def outbox(self, place: Any) -> None:
            return None

    class Worker(TrialWorker):
        board: Any = Board()

        def __init__(self) -> None:
            pass

        def run_cohort(self, cohort: Cohort, saves: Any) -> Any:
            raise instance(kind)

    with pytest.raises(kind):
        Worker().answer(Cohort(requests=(request,)))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (theirs.OutOfMemoryError, "the node 192.0.2.7 ran out of memory (fewer trials a node"),
        (theirs.ObjectStoreFullError, "--object-store-memory"),
        (theirs.OutOfDiskError, "the disk of Ray's temporary folder is full"),
        (theirs.OwnerDiedError, "the process that had put data into Ray's object store is gone"),
        (theirs.ObjectLostError, "data were lost with the node that held them"),
        (theirs.NodeDiedError, "the node was lost"),
        (theirs.LocalRayletDiedError, "Ray's own process on the node ended"),
        (theirs.WorkerCrashedError, "crashed or was killed, often for want of memory"),
        (theirs.ActorUnschedulableError, "no node has room for it"),
        (theirs.TaskUnschedulableError, "no node has room for it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_can_be_changed_is_told(kind: type[RayError], says: str) -> None:
    assert says in why_lost(str(instance(kind)))
