"""The workers that train a teacher: hired together, lost together, hired again.

They are actors of our own in a placement group, not those of Ray Train's TorchTrainer (2.60). That
one takes a controller and some forty seconds more to start, wants a folder that all nodes see, and
ends its workers with the training, while here the first of them goes on to answer.
"""

from __future__ import annotations

import contextlib
import re
import time
import warnings
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from bdistil.cluster.lost_worker import error_within, why_lost
from bdistil.cluster.process_group import Desk, is_parting, posts
from bdistil.cluster.tasks import RERUNS
from bdistil.cluster.teacher_places import Places, places_to_be_had
from bdistil.errors import BdistilError, BdistilWarning, ClusterError
from bdistil.interrupt import check
from bdistil.spec import WorkerSpec
from bdistil.teachers.source import EpochProgress

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BEFORE_WORD = 30.0  # of waiting for workers; one takes some ten to start
SECONDS_TO_DIE = 10.0  # after which the death of a worker is known that others have felt

Crew = list[Any]
"""Actors; the first one judges, and answers in the end."""


def trained_by_crew(
    trainer: type,
    lesson: Any,
    asked: int,
    workers: WorkerSpec,
    progress: EpochProgress | None,
    opened: contextlib.ExitStack,
) -> tuple[Any, Any]:
    """The actor that has the trained teacher, until `opened` closes, and what is known of it.

    Args:
        trainer: class of the actors.
        lesson: a reference to what they are told, or that itself.
        asked: workers that train together, if there is room for so many.
        workers: of the search.
        progress: is told each new epoch.
        opened: ends what is hired.

    Raises:
        BdistilError: what went wrong in the training.
        ClusterError: if workers were lost again and again.
    """
    for attempt in range(1 + RERUNS):
        places = places_to_be_had(asked, workers)
        with contextlib.ExitStack() as hired:
            crew = hired.enter_context(crew_of(trainer, places))
            try:
                known = train(crew, places, lesson, progress)
            except RayError as error:
                reason = reason_of_loss(error, places.workers)
                if attempt == RERUNS:
                    raise ClusterError(
                        f"the teacher was lost with {RERUNS + 1} workers: {reason}; the same "
                        f"command goes on with what is missing."
                    ) from error
                warnings.warn(
                    f"a worker that trains the teacher was lost: {reason}; it is trained again.",
                    BdistilWarning,
                    stacklevel=2,
                )
                continue
            for other in crew[1:]:
                ray.kill(other)
            opened.push(hired.pop_all())
            return crew[0], known
    raise AssertionError("the last attempt has raised")


@contextlib.contextmanager
def crew_of(trainer: type, places: Places) -> Iterator[Crew]:
    """Actors at their places, all or none; they end with the body."""
    remote: Any = ray.remote  # whose types do not know concurrency groups
    hired = remote(concurrency_groups={"telling": 1})(trainer)
    crew: Crew = []
    with contextlib.ExitStack() as ends:
        for strategy in strategies_of(places, ends):
            hire = hired.options(
                num_cpus=places.cpus,
                num_gpus=places.gpus,
                max_restarts=0 if crew else -1,  # as the first one answers in the end
                max_task_retries=0 if crew else RERUNS,
                scheduling_strategy=strategy,
            )
            crew.append(hire.remote(threads=max(1, int(places.cpus))))
            ends.callback(ray.kill, crew[-1])
        yield crew


def strategies_of(places: Places, ends: contextlib.ExitStack) -> list[Any]:
    """Where each worker goes: several into a placement group that lasts until `ends` closes."""
    if places.workers == 1:
        return ["DEFAULT"]
    bundle = {"CPU": places.cpus} | ({"GPU": places.gpus} if places.gpus else {})
    group = placement_group([bundle] * places.workers, strategy="PACK")
    ends.callback(remove_placement_group, group)
    return [PlacementGroupSchedulingStrategy(group, rank) for rank in range(places.workers)]


def train(crew: Crew, places: Places, lesson: Any, progress: EpochProgress | None) -> Any:
    """What the first one knows of the teacher in the end.

    Raises:
        RayError: the death of a worker, if there is one, else what was raised there.
    """
    first, *others = posts(wait_until_up(crew, places))
    tasks = [crew[0].known.remote(lesson, first)]
    tasks += [actor.help.remote(lesson, post) for actor, post in zip(crew[1:], others, strict=True)]
    return awaited(crew[0], tasks, progress)


def wait_until_up(crew: Crew, places: Places) -> list[Desk]:
    """Wait for the workers, and say so if that takes long."""
    desks = [actor.desk.remote(places.gpus, places.workers > 1) for actor in crew]
    started, said = time.monotonic(), False
    while ray.wait(desks, num_returns=len(crew), timeout=SECONDS_BETWEEN_LOOKS)[1]:
        check()
        if not said and time.monotonic() - started > SECONDS_BEFORE_WORD:
            said = True
            warnings.warn(
                f"the teacher waits for {places}: the cluster is busy or workers are slow to start "
                f"(`ray status` tells).",
                BdistilWarning,
                stacklevel=2,
            )
    there: list[Desk] = ray.get(desks)
    return there


def awaited(first: Any, tasks: list[Any], progress: EpochProgress | None) -> Any:
    """What the first task, of the actor `first`, gives; each new epoch is told while it lasts.

    Raises:
        RayError: as soon as any task fails; the death of a worker before what others say of it.
    """
    told, running = None, tasks
    while True:
        ready, running = ray.wait(running, timeout=SECONDS_BETWEEN_LOOKS)
        check()
        if progress is not None:
            telling = first.progress.options(concurrency_group="telling").remote()
            there, _ = ray.wait([telling], timeout=SECONDS_BETWEEN_LOOKS)
            with contextlib.suppress(RayError):  # if it is lost, its task tells
                epoch = ray.get(telling) if there else None
                if epoch not in (None, told):
                    told = epoch
                    progress(*epoch)
        try:
            ray.get(ready)
        except RayTaskError as error:
            death = None if is_told(error) else death_among(running)
            raise death or error from None
        if tasks[0] in ready:
            return ray.get(tasks[0])


def is_told(error: RayTaskError) -> bool:
    """Whether it is one of our own, which is not for want of another worker."""
    return isinstance(error.cause, BdistilError)


def death_among(tasks: list[Any]) -> RayError | None:
    """The death of a worker that ends one of the tasks about now; None if there is none."""
    if not tasks:
        return None
    ended, _ = ray.wait(tasks, num_returns=len(tasks), timeout=SECONDS_TO_DIE)
    for task in ended:
        try:
            ray.get(task)
        except RayTaskError:
            continue
        except RayError as death:
            return death
    return None


def told_by_torch(error: BaseException) -> str:
    """The first sentence of a collective's error, without its place in torch's sources."""
    line = re.sub(r"^\[\S+:\d+\]\s*", "", str(error).strip().partition("\n")[0])
    return line.partition(". ")[0][:200]


def reason_of_loss(error: RayError, workers: int) -> str:
    """Why a worker was lost, in a clause.

    Raises:
        BdistilError: what a worker raised itself.
        RayError: likewise, if it is none of ours.
    """
    cause = error_within(error)
    if isinstance(cause, BdistilError):
        raise cause from None
    if workers > 1 and is_parting(cause):
        return f"the {workers} workers do not reach each other ({told_by_torch(cause)})"
    if isinstance(error, RayTaskError) and not isinstance(cause, RayError):
        raise error
    return why_lost(str(error))
