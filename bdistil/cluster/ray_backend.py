"""The backend on Ray: one Tune experiment for a whole search, on workers that keep their data.

Tune runs in a thread of its own and knows workers alone: it starts a trial for each, restarts those
that are lost and feeds its loggers. What the trials run is bound late, by the board. All that
happens there reaches the search's thread as an event in a queue, so only that thread decides.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial

from bdistil.cluster.board import BoardClient
from bdistil.cluster.connect import cluster, trial_slots
from bdistil.cluster.deaths import deaths_known
from bdistil.cluster.fold_actors import fit_on_workers
from bdistil.cluster.lost_worker import losses_named, why_lost
from bdistil.cluster.searcher import Event, Finished, Idle, Lost, WorkerSearcher
from bdistil.cluster.shared_files import seen_by_all, unmapped
from bdistil.cluster.stored_margin import StoredMargin
from bdistil.cluster.teacher_actor import teacher_on_worker
from bdistil.cluster.trackers import check_tracking, make_tracker
from bdistil.cluster.trainable import Report, TrialWorker
from bdistil.core.cost import warm_up_counting
from bdistil.core.placement import training_device, warn_of_no_gpu
from bdistil.core.student import Student
from bdistil.data.dataset import Dataset
from bdistil.errors import BdistilWarning, SearchError
from bdistil.files.array_files import mapped_file
from bdistil.runs.trial import Cohort, Place, TrialResult
from bdistil.searching.backend import SECONDS_BETWEEN_LOOKS, Played, ShouldStop, Work
from bdistil.searching.checkpointing import Checkpoints, NoCheckpoints
from bdistil.searching.trial_runner import TrialRunner
from bdistil.searching.workbench import Material, Workbench
from bdistil.spec import Spec
from bdistil.spec.user_modules import import_modules
from bdistil.store.scratch import ScratchFolder
from bdistil.teachers.crossfit import Folds
from bdistil.teachers.obtain import HERE
from bdistil.teachers.source import EpochProgress, Teacher

RERUNS = 2  # of a cohort whose worker was lost
SECONDS_TO_LEAVE = 20.0  # for workers at the end, before they are ended with their session


def make_workbench(material: Material) -> Workbench:
    """In a worker: its workbench, on the GPU (or share of one) that Ray gave it, else the CPU."""
    for module in material.modules:
        module.load()
    warm_up_counting()  # now, and not while other workers wait for the end of round 2
    material = replace(material, train=ray.get(list(material.train)))
    return Workbench(material, training_device(material.spec.workers.gpus))


@dataclass
class Crew:
    """The workers of a search, as the search's thread counts them.

    Attributes:
        idle: Tune trials for which no cohort is queued yet.
        cohorts: of the open round and the one before, by their places.
        at_work: places of those that are queued or running.
        losses: workers that a cohort has cost since its last checkpoint.
        stillborn: workers lost in a row without a cohort.
    """

    idle: int = 0
    cohorts: dict[Place, Cohort] = field(default_factory=dict)
    at_work: set[Place] = field(default_factory=set)
    losses: Counter[Place] = field(default_factory=Counter)
    stillborn: int = 0


class RayBackend:
    """Runs trials on the workers of a Ray cluster.

    A trial whose worker is lost, with its node or alone, runs again elsewhere with the same values
    and seed, from its last checkpoint on: it is the cluster that failed. Only one that costs a
    third worker without coming to a further checkpoint counts as failed.

    Args:
        address: of the cluster; None starts Ray on this machine (or follows RAY_ADDRESS).
        verbose: let Ray and Tune speak.
        make_runner: called once in each worker process, with the material of the search.
    """

    def __init__(
        self,
        address: str | None = None,
        verbose: bool = False,
        make_runner: Callable[[Material], TrialRunner] | None = None,
    ) -> None:
        self.address = address
        self.verbose = verbose
        self.make_runner = make_runner or make_workbench
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.crew = Crew()
        self.checkpoints: Checkpoints = NoCheckpoints()
        self.news: list[bytes] = []  # students, since the round was announced
        self.opened = contextlib.ExitStack()

    @property
    def idle(self) -> int:
        """Workers that wait, or will as soon as they have started, for a cohort."""
        return self.crew.idle

    def check(self, spec: Spec) -> None:
        """Refuse trackers whose packages are missing.

        Raises:
            MissingDependencyError: naming the package.
            SpecError: if the study's database does not open.
        """
        check_tracking(spec.tracking)

    def open(self, spec: Spec) -> None:
        """Start Ray or join a cluster.

        Raises:
            ClusterError: if it cannot be reached, or cannot hold one trial.
        """
        with losses_named():
            self.opened.enter_context(cluster(spec.workers, self.address, self.verbose))

    def fit_folds(
        self, dataset: Dataset, spec: Spec, folds: Folds, progress: EpochProgress | None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Each fold's number and logits; `workers.count` are fitted at the same time.

        Features in a file, which are too many for the memory, do not travel: they train here.
        """
        if mapped_file(dataset.train.x) is not None:
            return HERE.fit_folds(dataset, spec, folds, progress)
        return fit_on_workers(dataset, spec, folds)

    def fit_teacher(
        self, dataset: Dataset, spec: Spec, progress: EpochProgress | None
    ) -> AbstractContextManager[Teacher]:
        """The teacher, trained by a worker that answers for it until the context ends.

        Features in a file, which are too many for the memory, do not travel: they train here.
        """
        if mapped_file(dataset.train.x) is not None:
            if spec.teacher.workers > 1:
                warnings.warn(
                    f"teacher.workers is {spec.teacher.workers}, but features that are kept in a "
                    f"file do not travel, so the command's own process trains the teacher.",
                    BdistilWarning,
                    stacklevel=2,
                )
            return HERE.fit_teacher(dataset, spec, progress)
        return teacher_on_worker(dataset, spec, progress)

    def start(self, work: Work) -> None:
        """Put the data where workers read them, and start the workers."""
        self.spec = spec = work.spec
        problem, train = work.problem, work.train
        modules = import_modules(spec.modules)
        with losses_named():
            if not seen_by_all(problem.validation, spec.workers):
                train = (unmapped(part) for part in train)
                problem = replace(problem, validation=unmapped(problem.validation))
            self.margin = StoredMargin(train, work.rules, spec.workers, modules)
            self.opened.callback(self.margin.close)
            material = Material(
                problem, self.margin.parts, spec, work.rules, work.measure, work.limits, modules
            )
            self.board = BoardClient(trial_slots(spec.workers), spec.search.pruner)
            self.opened.callback(self.board.remove)
            self.inbox = self.board.inbox()
        self.checkpoints = work.checkpoints
        folder = self.opened.enter_context(ScratchFolder("tune"))
        self.searcher = WorkerSearcher(self.events.put)
        tuner = self.make_tuner(material, folder, work.folder)
        self.thread = threading.Thread(target=self.run_tune, args=(tuner,), daemon=True)
        self.opened.callback(self.send_home)
        self.thread.start()

    def make_tuner(self, material: Material, folder: Path, run: Path) -> tune.Tuner:
        """The one Tune experiment of this search."""
        workers = self.spec.workers
        tracker = make_tracker(self.spec, run / "tune", lambda place: self.crew.cohorts[place])
        trainable = tune.with_resources(
            tune.with_parameters(
                TrialWorker,
                board=self.board,
                make_runner=self.make_runner,
                material=material,
                threads=max(1, int(workers.cpus)),
            ),
            {"cpu": workers.cpus, "gpu": workers.gpus},
        )
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=self.searcher,
                num_samples=-1,
                max_concurrent_trials=workers.trials,
                reuse_actors=True,
                trial_name_creator=trial_name,
                trial_dirname_creator=trial_name,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(folder.resolve()),
                verbose=0,
                callbacks=[LossCallback(self.events.put), tracker],
            ),
        )

    def run_tune(self, tuner: tune.Tuner) -> None:
        """The body of Tune's thread."""
        try:
            with deaths_known():
                tuner.fit()
        except BaseException as error:  # whatever it is, the search's thread must hear of it
            self.events.put(error)

    def open_round(self, number: int) -> None:
        """Announce a round to the workers."""
        with losses_named():
            self.board.open(number, self.news, self.margin)
        self.news = []
        cohorts = self.crew.cohorts.values()
        self.crew.cohorts = {each.place: each for each in cohorts if each.round >= number - 1}

    def submit(self, cohort: Cohort) -> None:
        """Queue a cohort for whichever worker is free first."""
        self.crew.cohorts[cohort.place] = cohort
        self.crew.at_work.add(cohort.place)
        self.crew.idle -= 1
        self.board.push(cohort, self.checkpoints.earlier(cohort))

    def recall(self, results: Sequence[TrialResult]) -> None:
        """Let a cohort of an earlier start count at the milestones."""
        if self.spec.search.pruner is not None:
            self.board.recall(results)

    def wait(self, until: float | None, should_stop: ShouldStop) -> list[TrialResult]:
        """The results that came in next.

        Raises:
            SearchError: if worker after worker ends before it takes a cohort.
            ClusterError: if Ray lost a part of the search that has no stand-in.
        """
        left = SECONDS_BETWEEN_LOOKS if until is None else until - self.now()
        with losses_named():
            event = None
            with contextlib.suppress(queue.Empty):
                event = self.events.get(timeout=max(0.0, min(left, SECONDS_BETWEEN_LOOKS)))
            self.keep_checkpoint()  # before a lost worker's cohort is queued again
            return [] if event is None else self.take_in(event)

    def keep_checkpoint(self) -> None:
        """Hand the next checkpoint on to where it is kept, if one has come."""
        if (posted := self.inbox.take()) is not None:
            place, checkpoint = posted
            if place in self.crew.at_work and self.checkpoints.keep(
                self.crew.cohorts[place], checkpoint
            ):
                self.crew.losses[place] = 0  # it comes further, however often nodes are preempted

    def take_in(self, event: Event) -> list[TrialResult]:
        """What an event of Tune's thread means; the results that it brings."""
        match event:
            case Idle():
                self.crew.idle += 1
            case Finished(trial_id, report=None):
                self.board.forget(trial_id)
                self.crew.idle -= 1
            case Finished(trial_id, Report() as report):
                self.board.forget(trial_id)
                self.crew.stillborn = 0
                if report.place in self.crew.at_work:  # and not of a closed round
                    self.crew.at_work.remove(report.place)
                    results = self.crew.cohorts[report.place].answered(report.answers)
                    if self.spec.workers.gpus and any(each.device == "cpu" for each in results):
                        warn_of_no_gpu(self.spec.workers.gpus, "on a node of the cluster")
                    return results
            case Lost(trial_id, reason):
                return self.replace_lost(self.board.taken_by(trial_id), reason)
            case BaseException():
                raise event
        return []

    def replace_lost(self, place: Place | None, reason: str) -> list[TrialResult]:
        """Queue a lost worker's cohort again; its results if it has cost too many.

        Raises:
            SearchError: if so many workers in a row ended before their first trial that no other
                is to be expected, and none is at work.
        """
        crew = self.crew
        if place is None:
            crew.idle -= 1
            crew.stillborn += 1
            most = self.spec.search.max_failures + self.spec.workers.trials
            if crew.stillborn > most and not self.board.has_workers():
                raise SearchError(
                    f"{crew.stillborn} workers in a row ended before their first trial: {reason}"
                )
            return []
        if place not in crew.at_work:  # of a closed round
            return []
        cohort = crew.cohorts[place]
        crew.losses[place] += 1
        if crew.losses[place] > RERUNS:
            crew.at_work.remove(place)
            return cohort.answered(
                cohort.ended("failed", f"it cost {RERUNS + 1} workers: {reason}")
            )
        self.submit(cohort)
        return []

    def candidate(self, number: int) -> bytes:
        """The weights of a trial that has finished."""
        with losses_named():
            return self.board.candidate(number)

    def close_round(self) -> None:
        """Stop the round's trials."""
        with losses_named():
            self.crew.idle += self.board.close()  # of what was queued
        self.crew.at_work.clear()

    def play(self, student: Student, weights: bytes) -> Played:
        """Take an accepted student into every node's copy of the margin."""
        with losses_named():
            self.margin.play(weights)
            self.news.append(weights)
            sent = Counter(self.margin.traffic.take()) + Counter(self.board.take_sent())
        received = {node[:8]: size for node, size in sent.items() if node != self.margin.home}
        return Played(self.margin.sha256, received, self.margin.game)

    def now(self) -> float:
        """Seconds of this machine's clock."""
        return time.monotonic()

    def close(self) -> None:
        """Send the workers home and leave the cluster; a Ray started here ends."""
        self.opened.close()

    def send_home(self) -> None:
        """End Tune's experiment: no more trials, and every worker leaves the board."""
        self.searcher.over = True
        with contextlib.suppress(RayError):  # the board itself may be what is lost
            self.board.end()
        self.thread.join(SECONDS_TO_LEAVE)


class LossCallback(tune.Callback):
    """Tells of lost workers, with Ray's reason.

    Args:
        tell: takes the events.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.tell = tell

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, but a queue must stay here."""
        return {}

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A worker is lost."""
        error = Path(trial.error_file).read_text() if trial.error_file else ""
        self.tell(Lost(trial.trial_id, why_lost(error)))

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A worker is lost whose trial Tune itself starts again, as when its node is preempted.

        That trial gets no cohort any more and ends.
        """
        self.tell(Idle())
        self.on_trial_error(iteration, trials, trial, **info)


def trial_name(trial: Trial) -> str:
    """A short name: the sampled values are in the journal, not in folder names."""
    return f"trial-{trial.trial_id}"
