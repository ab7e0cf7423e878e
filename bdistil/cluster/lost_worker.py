"""Why a part of the cluster was lost, in one clause, from what Ray says about it.

Ray has some 40 errors. A trial that meets one runs elsewhere (:mod:`~bdistil.cluster.deaths`); one
that the search itself meets ends it in one sentence.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from ray.exceptions import RayError, RayTaskError

from bdistil.errors import BdistilError, ClusterError

LESS_MEMORY = (
    "fewer trials a node, by a larger workers.cpus, or a smaller space.batch_size need less"
)
LARGER_STORE = "start Ray with a larger --object-store-memory"
CAUSES = (  # the first sign counts: Ray's explanations go on to list all that might have been
    ("low on memory", f"the node{{at}} ran out of memory ({LESS_MEMORY})"),
    ("disk's utilization is over", "the disk of Ray's temporary folder is full (make room there)"),
    ("disk is full", "the disk of Ray's temporary folder is full (make room there)"),
    ("object store is full", f"Ray's object store is full ({LARGER_STORE})"),
    ("was preempted", "the node{at} was preempted"),
    ("node has died", "the node{at} was lost"),
    ("lost due to node failure", "data were lost with the node that held them"),
    ("owner has exited", "the process that had put data into Ray's object store is gone"),
    ("no locations were found", "data were lost with the node that held them"),
    ("Failed to retrieve object", "data in Ray's object store were lost"),
    ("local raylet died", "Ray's own process on the node{at} ended (see its raylet.out)"),
    (
        "worker process has died",
        "the process{on} crashed or was killed, often for want of memory",
    ),
    (
        "worker died unexpectedly",
        "the process{on} crashed or was killed, often for want of memory",
    ),
    ("is unavailable:", "the process{on} does not answer"),
    ("is not schedulable", "no node has room for it (see `ray status`)"),
    ("placement group corresponding", "its place in the cluster was taken away"),
    ("set up runtime environment", "Ray could not set up its runtime environment on the node{at}"),
)


def why_lost(error: str) -> str:
    """The cause in the text of a Ray error; for a traceback, the exception at its end."""
    node = re.search(r"(?:^\s*ip: |\(IP: )([\w.:]+)", error, flags=re.MULTILINE)
    at, on = (f" {node[1]}", f" on {node[1]}") if node else ("", "")
    for sign, cause in CAUSES:
        if sign in error:
            return cause.format(at=at, on=on)
    last = re.split(r"^(?=[\w.]+: )", error, flags=re.MULTILINE)[-1]
    return " ".join(last.split())[:300] or "Ray gives no reason"


def error_within(error: BaseException) -> BaseException:
    """What went wrong in a task, in place of Ray's wrapping; other errors as they are."""
    return error.cause if isinstance(error, RayTaskError) else error


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Turn what Ray raises of lost processes, nodes and objects into one sentence.

    Raises:
        BdistilError: what a task raised.
        ClusterError: for what Ray raises otherwise.
    """
    try:
        yield
    except RayError as error:
        if isinstance(cause := error_within(error), BdistilError):
            raise cause from None
        raise ClusterError(
            f"Ray lost a part of the search that has no stand-in: {why_lost(str(error))}; the "
            f"same command goes on after the last accepted round."
        ) from error
