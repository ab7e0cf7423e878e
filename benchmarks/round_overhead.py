"""Time per round beyond the trials' own: one Tune experiment against one ``Tuner.fit`` a round.

Both sides run the same trials, which only sleep, on the same local Ray and the same number of
workers, with persistent actors within a fit. Also measured: how much sooner the same trials finish
with two workers than with one. Runs in under five minutes on two cores and needs no arguments.
"""

from __future__ import annotations

import json
import tempfile
import time
from typing import Any

from helpers.bare_search import FEATURES, OUTPUTS, run_bare_search
from ray import tune

from bdistil.cluster.connect import cluster
from bdistil.core.student import StudentConfig
from bdistil.export.checkpoint import build_student, student_to_bytes
from bdistil.runs.trial import Cohort, TrialAnswer
from bdistil.searching.announcement import Announcement
from bdistil.searching.trial_runner import Outcome
from bdistil.spec import Spec, WorkerSpec, load_spec

ROUNDS = 8
TRIALS = 4
SECONDS = 0.5


class SleepingRunner:
    """A trial that takes a fixed time; only the last of a round is a weak learner."""

    def __init__(self, material: Any) -> None:
        self.earlier: list[int] = []

    def open_round(self, announcement: Announcement) -> None:
        self.earlier += [1] * len(announcement.students)

    def run(self, cohort: Cohort, should_stop: Any, *saves: Any) -> list[Outcome]:
        time.sleep(SECONDS)
        config = StudentConfig("mlp", 1, "none", True)
        student = build_student(config, (FEATURES,), OUTPUTS, self.earlier)
        answer = TrialAnswer(status="finished", weak=True, gain=0.1)
        return [(answer, student_to_bytes(student))]


def spec_of(workers: int) -> Spec:
    return load_spec(
        {
            "data": {"name": "cube"},
            "space": {"student": "mlp", "ladder": [1]},
            "search": {
                "rounds": ROUNDS,
                "tries_per_class": TRIALS,
                "select": "best",
                "algorithm": "random",
            },
            "workers": {"count": workers},
        }
    )


def ours(workers: int) -> float:
    """Seconds for all rounds in one experiment, without the start of the first worker."""
    ended: list[float] = []
    run_bare_search(spec_of(workers), SleepingRunner, lambda record: ended.append(time.monotonic()))
    return (ended[-1] - ended[0]) * ROUNDS / (ROUNDS - 1)


class SleepingTrainable(tune.Trainable):
    """The same trial for the plain design."""

    def step(self) -> dict[str, Any]:
        time.sleep(SECONDS)
        return {"done": True, "gain": 0.1}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True


def one_fit_a_round(workers: int) -> float:
    """Seconds for all rounds with a new ``Tuner.fit`` each."""
    started = time.monotonic()
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            tune.Tuner(
                tune.with_resources(SleepingTrainable, {"cpu": 1}),
                param_space={"lr": tune.uniform(0, 1)},
                tune_config=tune.TuneConfig(
                    num_samples=TRIALS, max_concurrent_trials=workers, reuse_actors=True
                ),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            ).fit()
    return time.monotonic() - started


def main() -> None:
    with cluster(WorkerSpec(count=2), None, verbose=False):
        one, two = ours(1), ours(2)
        plain = one_fit_a_round(2)
    ideal = {workers: SECONDS * -(-TRIALS // workers) * ROUNDS for workers in (1, 2)}
    overhead, plain_overhead = (two - ideal[2]) / ROUNDS, (plain - ideal[2]) / ROUNDS
    print(
        f"{ROUNDS} rounds of {TRIALS} trials of {SECONDS} s, 2 workers, seconds beyond the trials"
    )
    print(f"  one experiment for all rounds   {overhead:6.3f} s a round")
    print(f"  one Tuner.fit a round           {plain_overhead:6.3f} s a round")
    print(f"  ratio                           {plain_overhead / overhead:6.1f}")
    print(f"two workers finish the same trials {one / two:.2f} times sooner than one")
    figures = {
        "ratio": plain_overhead / overhead,
        "seconds_a_round": overhead,
        "seconds_a_round_one_fit_a_round": plain_overhead,
        "speedup_two_workers": one / two,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
