"""How soon losers stop once a round has its weak learner: told at once, or at their epoch's end.

Both sides run the same trials on the same local Ray: four workers, one of which finds a weak
learner after a second, while the others are somewhere in an epoch of 20 seconds. On one side
bdistil's search plays the rounds; on the other Ray Tune gets a result an epoch and its scheduler
answers STOP. Batches sleep, so that only waiting is measured. Needs no arguments and takes two
minutes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from bdistil.cluster.connect import cluster
from bdistil.cluster.ray_backend import RayBackend, make_workbench
from bdistil.searching.run import run_search
from bdistil.spec import Spec, WorkerSpec, load_spec

WORKERS, ROUNDS = 4, 4
LEAD, EPOCH = 1.0, 20.0
BATCHES = (0.01, 0.1, 1.0)


def spec() -> Spec:
    return load_spec(
        {
            "data": {"name": "cube", "options": {"examples": 600}},
            "teacher": {"model": "mlp", "options": {"widths": [16]}, "epochs": 2},
            "space": {"student": "mlp", "ladder": [3], "epochs": 1},
            "search": {
                "rounds": ROUNDS,
                "tries_per_class": WORKERS,
                "algorithm": "random",
                "select": "first",
            },
            "workers": {"count": WORKERS},
        }
    )


class Contest:
    """A workbench on which number 0 of each round wins and all others train for long."""

    def __init__(self, folder: Path, batch: float, material: Any) -> None:
        self.bench = make_workbench(material)
        self.folder, self.batch = folder, batch

    def open_round(self, announcement: Any) -> None:
        self.bench.open_round(announcement)

    def run(self, cohort: Any, should_stop: Any, *saves: Any) -> Any:
        number = cohort.requests[0].number
        if cohort.round == 1:  # which waits for all, as every edge is zero
            return self.bench.run(cohort, should_stop, *saves)
        if number > 0:
            while not should_stop():
                time.sleep(self.batch)
            note(self.folder, cohort.round, number)
            return [(answer, None) for answer in cohort.ended("stopped")]
        ((answer, weights),) = self.bench.run(cohort, should_stop, *saves)
        time.sleep(LEAD)
        note(self.folder, cohort.round, number)
        return [(answer.model_copy(update={"weak": True}), weights)]


def note(folder: Path, round_number: int, number: int) -> None:
    """When a trial has ended; all processes share the machine's clock."""
    (folder / f"{round_number}-{number}").write_text(str(time.time()))


def latencies(folder: Path) -> Iterator[float]:
    """Seconds from each round's winner to each of its losers."""
    for loser in folder.glob("[0-9]*-[1-9]"):
        winner = folder / f"{loser.name.partition('-')[0]}-0"
        yield float(loser.read_text()) - float(winner.read_text())


def ours(batch: float) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backend = RayBackend(make_runner=partial(Contest, folder, batch))
        run_search(spec(), folder / "run", backend)
        return list(latencies(folder))


class EpochTrial(tune.Trainable):
    """The same contest for the plain design: a result an epoch."""

    def setup(self, config: dict[str, Any], folder: Path | None = None) -> None:
        assert folder is not None
        self.folder, self.number = folder, config["number"]
        self.seconds = LEAD if self.number == 0 else EPOCH * self.number / (WORKERS - 1)
        (folder / f"up-{self.number}").touch()

    def step(self) -> dict[str, Any]:
        while len(list(self.folder.glob("up-*"))) < WORKERS:
            time.sleep(0.01)
        time.sleep(self.seconds)
        self.seconds = EPOCH  # the first was what was left of an epoch when the winner came in
        note(self.folder, 1, self.number)
        won = self.number == 0
        return {"weak": won, "done": won}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


class StopLosers(FIFOScheduler):
    """Answers STOP as soon as a weak learner is there."""

    closed = False

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.closed = self.closed or result["weak"]

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return TrialScheduler.STOP if self.closed else TrialScheduler.CONTINUE


def one_result_an_epoch() -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        tune.Tuner(
            tune.with_parameters(EpochTrial, folder=Path(name)),
            param_space={"number": tune.grid_search(list(range(WORKERS)))},
            tune_config=tune.TuneConfig(scheduler=StopLosers()),
            run_config=tune.RunConfig(storage_path=name, verbose=0),
        ).fit()
        return list(latencies(Path(name)))


def main() -> None:
    ray.init(
        address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    with cluster(WorkerSpec(count=WORKERS), None, verbose=False):
        told = {batch: ours(batch) for batch in BATCHES}
        asked = one_result_an_epoch()
    print(f"seconds until losers stop, {WORKERS - 1} losers a round      median     most")
    for batch, seconds in told.items():
        print(f"  told at once, batches of {batch:4.2f} s", end="           ")
        print(f"{statistics.median(seconds):8.3f} {max(seconds):8.3f}")
    print(f"  one result an epoch of {EPOCH:g} s             ", end="   ")
    print(f"{statistics.median(asked):8.3f} {max(asked):8.3f}")
    ratio = statistics.median(asked) / statistics.median(told[0.1])
    most = {f"most_{batch:g}": max(seconds) for batch, seconds in told.items()}
    print(json.dumps({"ratio": ratio, **most, "most_epoch": max(asked)}))


if __name__ == "__main__":
    main()
