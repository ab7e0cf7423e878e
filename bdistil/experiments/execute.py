"""Runs the searches of an experiment on a Ray cluster, each as one task; teachers are shared."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from bdistil.cluster.connect import cluster
from bdistil.cluster.launch import launch_search, launch_teacher
from bdistil.cluster.tasks import as_they_end, task_of
from bdistil.errors import (
    BdistilError,
    BdistilWarning,
    CheckpointError,
    ClusterError,
    DataError,
    MissingDependencyError,
    SearchError,
)
from bdistil.experiments.clock import add_times, prefixes
from bdistil.experiments.design import IN_CASCADE, METHOD, Run
from bdistil.experiments.figures import Figures, figures_of
from bdistil.experiments.rivals.methods import RIVALS
from bdistil.experiments.rivals.play import play, play_in_cascade
from bdistil.experiments.shipping import shipped
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import load_students, teacher_network
from bdistil.spec import WorkerSpec
from bdistil.store.durable import read_file, write_atomic
from bdistil.version import version_and_commit

FIGURES_FILE = "figures.json"
TO_BE_MENDED = (CheckpointError, ClusterError, DataError, MissingDependencyError)
"""Errors that tell nothing of a search or a method."""

Taught = Callable[[Run, int, int], None]
Done = Callable[[Run, Figures, int, int], None]
UnderWay = Callable[[Run, int], None]

SECONDS_BETWEEN_LOOKS = 30.0
"""At the journals of searches that run."""


def execute(
    runs: Sequence[Run],
    folder: Path,
    workers: WorkerSpec,
    address: str | None = None,
    verbose: bool = False,
    done: Done = lambda run, figures, count, total: None,
    taught: Taught = lambda run, count, total: None,
    under_way: UnderWay = lambda run, rounds: None,
) -> list[Figures]:
    """The figures of each run; those on disk are not searched again.

    Args:
        runs: the searches.
        folder: of the experiment; on a cluster of several nodes, one that all of them see at the
            same path.
        workers: what each task takes of the cluster.
        address: of a Ray cluster; None starts Ray here.
        verbose: let Ray speak.
        done: called with each run that is new, its figures and how many of all are there.
        taught: called with a run whose teacher is there and how many of all teachers are.
        under_way: called with a search that has accepted more rounds, and how many.

    Raises:
        BdistilError: for bad input, from the first run that meets it.
        ClusterError: if tasks lose worker after worker.
    """
    folder = folder.absolute()  # workers work in another one
    kept = {run.folder: stored(folder / run.folder, run) for run in runs}
    missing = [run for run in runs if kept[run.folder] is None]
    if missing:
        with cluster(workers, address, verbose):
            share_out(missing, folder, workers, kept, done, taught, under_way)
    for note in unequal_tries(runs, folder):
        warnings.warn(note, BdistilWarning, stacklevel=2)
    return [figures for run in runs if (figures := kept[run.folder]) is not None]


def share_out(
    runs: Sequence[Run],
    folder: Path,
    workers: WorkerSpec,
    kept: dict[str, Figures | None],
    done: Done,
    taught: Taught,
    under_way: UnderWay,
) -> None:
    """Teachers first, then the searches, as Ray tasks."""
    teachers = {run.teacher_folder: run for run in runs}.values()
    on_cpus = workers.model_copy(update={"gpus": 0.0})  # where rivals train
    teach_one, search_one = task_of(make_teacher, workers), task_of(make_run, workers)
    rival_one = task_of(make_run, on_cpus)
    being_taught = {teach_one.remote(shipped(run, workers), folder): run for run in teachers}
    for count, (task, notes) in enumerate(as_they_end(list(being_taught)), start=1):
        run = being_taught[task]
        taught(run, count, len(being_taught))
        for note in notes:
            warnings.warn(f"{run.data}, seed {run.seed}: {note}", BdistilWarning, stacklevel=2)
    tasks = {
        (rival_one if is_rival(run) else search_one).remote(shipped(run, workers), folder): run
        for run in runs
    }
    watch = Watch(runs, folder, under_way)
    for task, figures in as_they_end(list(tasks), watch.look):
        run = tasks[task]
        kept[run.folder] = figures
        done(run, figures, sum(each is not None for each in kept.values()), len(kept))


def unequal_tries(runs: Sequence[Run], folder: Path) -> list[str]:
    """Of which data searches had more tries than others though nobody has said so.

    What the spec leaves open hangs on whether candidates train together, which cells may decide.
    """
    tries: dict[str, set[int]] = {}
    for run in runs:
        place = RunDirectory(folder / run.folder)
        if run.spec.search.tries_per_class is None and place.spec_file.exists():
            tries.setdefault(run.data, set()).add(place.spec().search.tries)
    return [
        f"{data}: some searches had {min(found)} tries a class and others {max(found)}, as "
        "candidates of some cells alone train together; compare them at equal tries: "
        f"search.tries_per_class={max(found)}."
        for data, found in tries.items()
        if len(found) > 1
    ]


class Watch:
    """Tells of rounds that searches accept, now and then.

    Args:
        runs: the searches; rivals among them have no rounds.
        folder: of the experiment.
        tell: takes a search and how many rounds it has accepted.
    """

    def __init__(self, runs: Sequence[Run], folder: Path, tell: UnderWay) -> None:
        self.folder, self.tell = folder, tell
        self.rounds = {run.folder: self.count(run) for run in runs}
        self.runs = runs
        self.looked = time.monotonic()

    def look(self) -> None:
        """Tell what is new, if the last look was long ago."""
        if time.monotonic() - self.looked < SECONDS_BETWEEN_LOOKS:
            return
        self.looked = time.monotonic()
        for run in self.runs:
            count = self.count(run)
            if count > self.rounds[run.folder]:
                self.rounds[run.folder] = count
                self.tell(run, count)

    def count(self, run: Run) -> int:
        """Rounds that a search has accepted; 0 if that cannot be told."""
        try:
            return RunDirectory(self.folder / run.folder).journal.count()
        except CheckpointError:  # for whoever goes on with it to tell
            return 0


def make_teacher(run: Run, folder: Path) -> list[str]:
    """Train a teacher, unless it is there; what a person should know of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BdistilWarning)
        launch_teacher(run.spec, folder / run.teacher_folder)
    return [str(each.message) for each in caught if issubclass(each.category, BdistilWarning)]


def make_run(run: Run, folder: Path) -> Figures:
    """Search with the shared teacher, and write the figures beside the run.

    That a search or a method has no answer is a result, too.

    Raises:
        BdistilError: for what another start may find mended: files, data, packages, the cluster.
    """
    place = folder / run.folder
    started = time.monotonic()
    try:
        figures = outcome(run, place, folder / run.teacher_folder)
    except TO_BE_MENDED:
        raise
    except BdistilError as error:
        figures = Figures(run.data, dict(run.cell), run.seed, failed=str(error))
    figures.seconds = time.monotonic() - started
    figures.version = version_and_commit()
    write_atomic(place / FIGURES_FILE, json.dumps(figures.to_json(), indent=1).encode())
    return figures


def is_rival(run: Run) -> bool:
    """Whether a run is no search of ours."""
    return run.cell.get(METHOD) in RIVALS


def outcome(run: Run, place: Path, teacher_dir: Path) -> Figures:
    """The figures of a search, or of a rival if the cell names one."""
    method = run.cell.get(METHOD)
    if is_rival(run):
        return play(run, run.cell[METHOD], teacher_dir)
    result = launch_search(run.spec, place, teacher_dir=teacher_dir)
    if not result.rounds:
        reason = "" if result.ended is None else f": {result.ended.reason}"
        raise SearchError(f"no round has a student{reason}")
    figures = figures_of(result, run)
    if method == IN_CASCADE:
        return play_in_cascade(run, result, figures.stages[-1]["trained"])
    if method is not None:
        students = load_students(result.run, result.dataset)
        teacher = teacher_network(result.run, result.dataset)
        add_times(figures, prefixes(students), teacher, result.dataset.input_shape)
    return figures


def stored(place: Path, run: Run) -> Figures | None:
    """The figures of a run that has ended; None if there are none yet, or they are damaged."""
    file = place / FIGURES_FILE
    try:
        found = Figures.from_json(json.loads(read_file(file)))
        found.check(run)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        warnings.warn(
            f"{file} is damaged or of another run, which is searched again.",
            BdistilWarning,
            stacklevel=2,
        )
        return None
    return found
