"""What the search itself costs as trials and workers grow.

Trials do nothing, or sleep for a second, so everything measured is the search's own: controller,
sampler, board, Ray Tune. Workers are real Ray actors on declared CPUs; sleeping ones need no cores,
but 0.3 GB of memory each. So more than ``--workers`` are had by trials that end sooner: 16 workers
whose trials take a sixteenth of a second answer as often as 256 with trials of one second
(``--as-many-as``). Runs in under five minutes on two cores and needs no arguments.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from helpers.bare_search import FEATURES, OUTPUTS, run_bare_search

from bdistil.core.student import StudentConfig
from bdistil.export.checkpoint import build_student, student_to_bytes
from bdistil.runs.trial import Cohort, TrialAnswer
from bdistil.searching.announcement import Announcement
from bdistil.searching.progress import Silent
from bdistil.searching.trial_runner import Outcome
from bdistil.searching.workbench import Material
from bdistil.spec import load_spec


class IdleRunner:
    """A trial that takes a fixed time and always finds a weak learner."""

    def __init__(self, seconds: float, material: Material) -> None:
        self.seconds = seconds
        student = build_student(StudentConfig("mlp", 1, "none", True), (FEATURES,), OUTPUTS, ())
        self.weights = student_to_bytes(student)

    def open_round(self, announcement: Announcement) -> None:
        pass

    def run(self, cohort: Cohort, should_stop: Any, *saves: Any) -> list[Outcome]:
        time.sleep(self.seconds)
        answer = TrialAnswer(status="finished", weak=True, gain=0.1)
        return [(answer, self.weights) for _ in cohort.requests]


class Stopwatch(Silent):
    """Notes when trials were answered, so that the start of the workers does not count."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.first: tuple[float, int] | None = None

    def update(self, snapshot: Any) -> None:
        if self.first is None and snapshot.done >= self.skip:
            self.first = time.monotonic(), snapshot.done


def play(workers: int, trials: int, seconds: float) -> tuple[float, int]:
    """Seconds for the trials after the workers are up, and how many trials those are."""
    spec = load_spec(
        {
            "data": {"name": "cube"},
            "space": {"student": "mlp", "ladder": [1], "gamma": {"low": 1, "high": 9}},
            "search": {
                "rounds": 1,
                "tries_per_class": trials,
                "select": "best",
                "algorithm": "random",
            },
            "workers": {"count": workers},
        }
    )
    watch = Stopwatch(skip=workers)
    ended: list[float] = []
    run_bare_search(
        spec, partial(IdleRunner, seconds), lambda record: ended.append(time.monotonic()), watch
    )
    assert watch.first is not None
    started, done = watch.first
    return ended[0] - started, trials - done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--as-many-as", type=int, nargs="*", default=[])
    options = parser.parse_args()
    figures: dict[str, float] = {}
    print("workers  no-op trials/s  ms a trial | one-second trials: over the ideal")
    for workers in options.workers:
        with declared(workers):
            seconds, trials = play(workers, 400, 0.0)
            rate = trials / seconds
            over = over_ideal(workers, 20 * workers, 1.0)
        print(f"{workers:7d}  {rate:14.1f}  {1e3 / rate:10.2f} | {over:20.1%}", flush=True)
        figures |= {f"trials_a_second_{workers}": rate, f"over_ideal_{workers}": over}
    for many in options.as_many_as:
        workers = options.workers[-1]
        with declared(workers):
            over = over_ideal(workers, 10 * many, workers / many)
        print(
            f"{many:7d}  {many / (1 + over):14.1f}  (as often as so many) | {over:10.1%}",
            flush=True,
        )
        figures |= {f"over_ideal_as_{many}": over}
    figures["ratio"] = 1 + figures[f"over_ideal_{options.workers[0]}"]
    print(json.dumps(figures))


@contextmanager
def declared(workers: int) -> Iterator[None]:
    """Ray with so many CPUs, whatever the machine has."""
    ray.init(
        address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    yield
    ray.shutdown()


def over_ideal(workers: int, trials: int, seconds: float) -> float:
    """Wall time of trials that sleep over that of workers that never wait, less one."""
    slept, rest = play(workers, trials, seconds)
    return slept / (rest / workers * seconds) - 1


if __name__ == "__main__":
    main()
