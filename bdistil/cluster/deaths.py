"""Every death of a worker that Ray can report, as Tune's death of an actor.

Tune (2.60) knows two errors of its actors: that one has died and that its code has raised. At any
other, such as `OutOfMemoryError` of an actor that is killed for memory, its loop ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray.air.execution._internal import actor_manager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller

PLACES = (actor_manager, tune_controller)  # where Tune asks whether an error is a death


def deaths() -> tuple[type[RayError], ...]:
    """All kinds of Ray's errors but what code of a task raises itself."""
    return tuple(kind for kind in RayError.__subclasses__() if kind is not RayTaskError)


@contextmanager
def deaths_known() -> Iterator[None]:
    """Tune takes every one of them for the death of its actor; for all Tune runs of the process."""
    for place in PLACES:
        place.RayActorError = deaths()  # type: ignore[attr-defined]  # what stands in its calls of isinstance
    try:
        yield
    finally:
        for place in PLACES:
            place.RayActorError = RayActorError  # type: ignore[attr-defined]
