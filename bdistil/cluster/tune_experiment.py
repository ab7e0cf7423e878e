"""One Tune experiment for a whole search: persistent workers, rounds opened as winners come in."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial

from bdistil.cluster.board import BoardClient
from bdistil.cluster.connect import trial_slots
from bdistil.cluster.lost_worker import why_lost
from bdistil.cluster.searcher import RoundSearcher
from bdistil.cluster.stored_margin import StoredMargin
from bdistil.cluster.trackers import make_tracker
from bdistil.cluster.trainable import TrialWorker
from bdistil.core.placement import training_device
from bdistil.errors import ClusterError
from bdistil.interrupt import check
from bdistil.runs.journal import RoundRecord
from bdistil.searching.controller import RoundController, Winner
from bdistil.searching.ledger import Ledger
from bdistil.searching.progress import SECONDS_BETWEEN_UPDATES, Reporter, Snapshot
from bdistil.searching.sampling import Sampler
from bdistil.searching.trial_runner import TrialRunner
from bdistil.searching.workbench import Material, Workbench
from bdistil.spec import Spec


@dataclass(frozen=True)
class Crew:
    """What every worker builds its trial runner from.

    Attributes:
        make_runner: called once in each worker process.
        material: its argument; numpy arrays in it are shared through the object store.
    """

    make_runner: Callable[[Any], TrialRunner]
    material: Any


def make_workbench(material: Material) -> Workbench:
    """In a worker: its workbench, on the GPU (or share of one) that Ray gave it, else the CPU."""
    for module in material.modules:
        module.load()
    material = replace(material, train=ray.get(list(material.train)))
    return Workbench(material, training_device(material.spec.workers.gpus))


class Experiment:
    """Runs the rounds that the journal does not hold yet, inside an initialised Ray.

    Args:
        spec: the resolved search.
        ledger: the accepted rounds; extended here.
        margin: what they make of the training split; extended here.
        sampler: proposes values for trials.
        crew: what workers run.
        reporter: shows progress.
        accepted: called after each accepted round.
    """

    def __init__(
        self,
        spec: Spec,
        ledger: Ledger,
        margin: StoredMargin,
        sampler: Sampler,
        crew: Crew,
        reporter: Reporter,
        accepted: Callable[[RoundRecord], None] = lambda record: None,
    ) -> None:
        self.spec = spec
        self.ledger = ledger
        self.margin = margin
        self.crew = crew
        self.reporter = reporter
        self.accepted = accepted
        self.tracker = make_tracker(spec, ledger.directory.path / "tune")
        self.started, self.updated = time.monotonic(), 0.0
        self.board = BoardClient(expected=trial_slots(spec.workers))
        self.controller = RoundController(
            spec, sampler, self.accept, rounds_done=len(ledger.records)
        )
        self.searcher = RoundSearcher(self.controller, self.board)

    def run(self) -> None:
        """Play rounds until T, the time budget or an error.

        Raises:
            BdistilError: what went wrong in the controller, after Tune was shut down.
        """
        try:
            self.open_round()
            with tempfile.TemporaryDirectory(prefix="bdistil-tune-") as folder:
                self.tuner(folder).fit()
            if self.searcher.error is not None:
                raise self.searcher.error
            self.show(time.monotonic() - self.started)
        except RayError as error:
            raise ClusterError(
                f"Ray lost a part of the search that has no stand-in: {why_lost(str(error))}; the "
                f"same command goes on after the {len(self.ledger.records)} accepted rounds."
            ) from error
        finally:
            self.board.remove()

    def accept(self, winner: Winner) -> None:
        """Keep a round's winner, close the round for all workers and open the next."""
        weights = self.board.candidate(winner.result.request.number)
        self.searcher.dropped(self.board.close())
        self.margin.play(weights)
        record = self.ledger.accept(
            winner,
            weights,
            margin_sha256=self.margin.sha256,
            seconds=time.monotonic() - self.opened,
            received_bytes=self.received_bytes(),
        )
        self.reporter.round_accepted(record)
        self.accepted(record)
        if record.round < self.spec.search.rounds:
            self.open_round()
        else:
            self.board.end()

    def open_round(self) -> None:
        """Announce the next round to the workers."""
        self.opened = time.monotonic()
        self.board.open(self.ledger.blobs, self.margin)

    def received_bytes(self) -> dict[str, int]:
        """What each node but this one was sent in the round, by the start of its id."""
        sent = Counter(self.margin.traffic.take()) + Counter(self.board.take_sent())
        return {node[:8]: count for node, count in sent.items() if node != self.margin.home}

    def tuner(self, folder: str) -> tune.Tuner:
        """The one Tune experiment of this search."""
        workers = self.spec.workers
        trainable = tune.with_resources(
            tune.with_parameters(
                TrialWorker,
                board=self.board,
                make_runner=self.crew.make_runner,
                material=self.crew.material,
                threads=max(1, int(workers.cpus)),
            ),
            {"cpu": workers.cpus, "gpu": workers.gpus},
        )
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=self.searcher,
                num_samples=-1,
                max_concurrent_trials=workers.count,
                reuse_actors=True,
                trial_name_creator=trial_name,
                trial_dirname_creator=trial_name,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(Path(folder).resolve()),
                verbose=0,
                callbacks=[Heartbeat(self), self.tracker],
            ),
        )

    def beat(self) -> None:
        """What has to happen now and then: grace, time budget, display."""
        check()
        self.searcher.poll()
        budget = self.spec.search.time_budget
        elapsed = time.monotonic() - self.started
        if budget is not None and elapsed > budget and not self.controller.finished:
            self.searcher.stop()
            self.reporter.message(
                f"Time budget of {budget:g} s reached; resume with more, or with "
                f"search.time_budget=null."
            )
        if elapsed - self.updated > SECONDS_BETWEEN_UPDATES:
            self.show(elapsed)

    def show(self, elapsed: float) -> None:
        """The state of the search, for people."""
        self.updated = elapsed
        self.reporter.update(Snapshot.of(self.controller, self.ledger.records, elapsed))


class Heartbeat(tune.Callback):
    """Tune's hook into its own event loop, a few times a second."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, but a display and the data must stay here."""
        return {}

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A worker is lost."""
        error = Path(trial.error_file).read_text() if trial.error_file else ""
        self.experiment.searcher.lost(trial.trial_id, why_lost(error))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """After each step of Tune's loop."""
        self.experiment.beat()


def trial_name(trial: Trial) -> str:
    """A short name: the sampled values are in the journal, not in folder names."""
    return f"trial-{trial.trial_id}"
