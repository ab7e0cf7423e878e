"""What a checkpoint costs, as a share of the minute that lies between two.

Taking one (the worker trains no further meanwhile) and writing it (the driver, flushed to disk),
for a student of kilobytes alone and in a cohort of eight, and for one whose checkpoint has 100 MB.
A worker spends at most .01 of its time on them: larger ones come more seldom.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time

import torch
from cohort import first_round, members

from bdistil.core.cohort import Member, find_weak_learners
from bdistil.core.find_weak_learner import find_weak_learner
from bdistil.core.recipes import recipe
from bdistil.core.round import Round
from bdistil.core.training_state import Keep, TakeState
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.open_training import OpenTrainingFiles
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort, TrialRequest
from bdistil.searching.checkpointing import SECONDS_BETWEEN

REQUEST = TrialRequest(round=1, number=0, rung=0, attempt=0, params={"recipe": "accurate"}, seed=0)


def measure(name: str, crowd: list[Member], state: Round) -> float:
    """Train with a checkpoint after each epoch; the median share of a minute to take one."""
    takes, writes, size = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        files = OpenTrainingFiles(RunDirectory(folder))

        def keep(take: TakeState) -> None:
            nonlocal size
            began = time.perf_counter()
            checkpoint = Checkpoint.of(take())
            taken = time.perf_counter()
            files.write("", Cohort(requests=(REQUEST,)), checkpoint)
            takes.append(taken - began)
            writes.append(time.perf_counter() - taken)
            size = len(checkpoint.content)

        trained(crowd, state, keep)
    take, write = statistics.median(takes), statistics.median(writes)
    print(
        f"{name:20s} {size / 1e3:9,.0f} kB: taken in {1e3 * take:6.1f} ms "
        f"({take / SECONDS_BETWEEN:.2%} of a minute), written in {1e3 * write:6.1f} ms"
    )
    return take / SECONDS_BETWEEN


def main() -> None:
    torch.set_num_threads(1)
    state, accurate = first_round(), recipe("accurate")
    figures = {}
    for name, width, count, epochs in (
        ("a student", 16, 1, 20),
        ("a cohort of eight", 16, 8, 20),
        ("a large student", 110_000, 1, 4),
    ):
        settings = dataclasses.replace(accurate, epochs=epochs, batch_size=512)
        crowd = members("mlp", width, count, settings)
        figures[name] = measure(name, crowd, state)
    print(json.dumps({"ratio": figures["a student"], **figures}))


def trained(crowd: list[Member], state: Round, keep: Keep) -> object:
    """A student alone as a worker trains it, several together."""
    if len(crowd) > 1:
        return find_weak_learners(crowd, state, keep=keep)
    return find_weak_learner(crowd[0].student, state, crowd[0].recipe, keep=keep)


if __name__ == "__main__":
    main()
