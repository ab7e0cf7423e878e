"""A whole search from a spec to a finished run directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from bdistil.core.threads import one_thread
from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SearchError, SpecError
from bdistil.export.ensemble import Ensemble
from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialResult
from bdistil.searching.beam import Beam, Extension, extend, extend_here
from bdistil.searching.ledger import Ledger
from bdistil.searching.local import InProcessSearch, prepared
from bdistil.searching.optuna_study import mirror_study
from bdistil.searching.outcome import (
    evaluation,
    export_ensemble,
    for_raw_data,
    write_trials,
)
from bdistil.searching.problem import Part, Problem, build_problem, training_shards
from bdistil.searching.progress import Reporter, Silent
from bdistil.searching.resolve import comparison_measure, game_rules, resolve
from bdistil.searching.sampling import Sampler, build_sampler
from bdistil.searching.workbench import Material
from bdistil.spec import Spec, TrackingSpec
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import sweep, write_atomic
from bdistil.teachers.obtain import (
    check_same_files,
    check_teacher,
    game_logits,
    obtain_teacher,
)
from bdistil.teachers.teacher_store import Logits

Accepted = Callable[[RoundRecord], None]


def run_search(
    spec: Spec,
    out: str | Path,
    *,
    address: str | None = None,
    verbose: bool = False,
    reporter: Reporter | None = None,
    teacher: Path | None = None,
) -> RunDirectory:
    """Search, or go on with the search that `out` holds, until all rounds are accepted.

    Args:
        spec: the search.
        out: the run directory, a path or a URI; made if it is not there.
        address: of a Ray cluster; None starts Ray on this machine, which takes none if
            `workers.count` is 0.
        verbose: let Ray and Tune speak.
        reporter: shows progress; None shows nothing.
        teacher: a run directory (see :func:`teach`) whose teacher is taken instead of a new one.

    Returns:
        The run directory, complete unless the time budget ended the search.

    Raises:
        BdistilError: for bad input, before anything is written, or for a search that cannot go on.
    """
    reporter = reporter or Silent()
    torch.set_num_threads(1)  # repeatable, and the workers need the other cores
    run, spec, dataset = opened(spec, out)
    with run.locked(), workers_if_needed(run, spec, address, verbose):
        sweep(run.path)
        run.create(spec)
        if teacher is not None and not run.teacher.exists:
            take_over(RunDirectory.existing(teacher), run)
        logits = taught(run, spec, dataset, reporter)
        problem, train = build_problem(dataset, logits), training_shards(dataset, logits)
        del dataset, logits  # `train` lets go of them once its last shard is read
        play(run, spec, problem, train, reporter)
    return run


def opened(spec: Spec, out: str | Path) -> tuple[RunDirectory, Spec, Dataset]:
    """The run directory, the spec with every `auto` decided, and its data, all fit for a search.

    Raises:
        BdistilError: if they are not.
    """
    import_modules(spec.modules)
    dataset = load_dataset(spec.data, spec.seed, spec.teacher.columns)
    spec = resolve(spec, dataset)
    run = RunDirectory(out)
    run.check(spec)
    if run.has_teacher_of(spec):
        check_same_files(run.teacher, spec.teacher)
    else:
        check_teacher(dataset, spec)
    if spec.tracking != TrackingSpec():
        from bdistil.cluster.trackers import check_tracking

        check_tracking(spec.tracking)
    return run, spec, dataset


def teach(spec: Spec, out: Path, reporter: Reporter | None = None) -> RunDirectory:
    """A run directory that holds a teacher and no rounds, for several searches to share.

    Raises:
        BdistilError: for bad input.
    """
    torch.set_num_threads(1)
    run, spec, dataset = opened(spec, out)
    folds = spec.teacher.crossfit and not run.teacher.exists
    workers = workers_if_needed(run, spec, None, verbose=False) if folds else nullcontext()
    with run.locked(), workers:
        sweep(run.path)
        run.create(spec)
        taught(run, spec, dataset, reporter or Silent())
    return run


def take_over(source: RunDirectory, run: RunDirectory) -> None:
    """Copy a run's teacher; the card last, as it says that the rest is there.

    Raises:
        SpecError: if that run has other data, another teacher or another seed.
    """
    theirs, ours = source.spec(), run.spec()
    for field in ("data", "teacher", "seed"):
        if getattr(theirs, field) != getattr(ours, field):
            raise SpecError(f"{source.place} has another {field}; give a teacher of the same.")
    for file in (source.teacher.logits_file, source.teacher.weights_file, source.teacher.card_file):
        if file.exists():
            write_atomic(run.teacher.path / file.name, file.read_bytes())


def search_dataset(
    spec: Spec, dataset: Dataset, reporter: Reporter | None = None, address: str | None = None
) -> Ensemble:
    """Search on data that are in memory and keep nothing but the ensemble.

    Args:
        spec: the search; its `data` is not looked at.
        dataset: the data.
        reporter: shows progress; None shows nothing.
        address: of a Ray cluster, if the spec has workers.

    Raises:
        BdistilError: for bad input, or for a search that cannot go on.
    """
    reporter = reporter or Silent()
    import_modules(spec.modules)
    spec = resolve(spec, dataset)
    check_teacher(dataset, spec)
    with tempfile.TemporaryDirectory(prefix="bdistil-") as folder:
        run = RunDirectory(folder)
        with one_thread(), workers_if_needed(run, spec, address, verbose=False):
            logits = taught(run, spec, dataset, reporter)
            ledger = Ledger(run, build_problem(dataset, logits))
            train = training_shards(dataset, logits)
            search_rounds(spec, ledger, train, reporter)
        if not ledger.records:
            raise SearchError("search.time_budget ended before a round was accepted; raise it.")
    return for_raw_data(ledger.ensemble.eval(), dataset, spec.name)


def workers_if_needed(
    run: RunDirectory, spec: Spec, address: str | None, verbose: bool
) -> AbstractContextManager[None]:
    """Ray, if rounds are missing; what it lacks is told before a teacher is trained."""
    if spec.workers.count == 0 or len(run.journal.read()) >= spec.search.rounds:
        return nullcontext()
    from bdistil.cluster.connect import cluster

    return cluster(spec.workers, address, verbose)


def taught(run: RunDirectory, spec: Spec, dataset: Dataset, reporter: Reporter) -> Logits:
    """The logits to distil; the teacher is trained or asked if they are not stored yet."""

    def folded(done: int, folds: int) -> None:
        run.keep()
        reporter.message(f"Cross-fitting: {done} of {folds} teachers are fitted.")
        if done == folds:
            reporter.message(teacher_message(spec, dataset))

    if not run.teacher.exists and not spec.teacher.crossfit:
        reporter.message(teacher_message(spec, dataset))
    logits = obtain_teacher(
        run.teacher, dataset, spec, reporter.teacher, reporter.teacher_answers, folded
    )
    run.keep()
    return game_logits(logits)


def teacher_message(spec: Spec, dataset: Dataset) -> str:
    """What obtaining the teacher means, for people."""
    if not spec.teacher.is_foreign:
        return f"Training the teacher on {len(dataset.train)} examples ..."
    examples = sum(map(len, (dataset.train, dataset.validation, dataset.test)))
    return f"Asking the teacher {spec.teacher.model} about {examples} examples ..."


def play(
    run: RunDirectory,
    spec: Spec,
    problem: Problem,
    train: Iterator[Part],
    reporter: Reporter,
) -> None:
    """The missing rounds, then the ensemble."""

    def bookkeeping(record: RoundRecord) -> None:
        write_trials(run, ledger.records)
        mirror_study(run.study_file, spec, ledger.records)
        run.keep()

    ledger = Ledger(run, problem)
    ledger.restore()
    if spec.search.beam > 1 and not ledger.records:
        Beam(run, spec).grow(
            extend_on_ray if spec.workers.count else extend_here, reporter.round_accepted
        )
        ledger = Ledger(run, problem)
        ledger.restore()
    if ledger.records:
        reporter.message(f"{len(ledger.records)} of {spec.search.rounds} rounds are accepted.")
    if len(ledger.records) < spec.search.rounds:
        search_rounds(spec, ledger, train, reporter, bookkeeping)
    elif ledger.records:
        mirror_study(run.study_file, spec, ledger.records)  # a crash may have come before it
    finish(run, ledger)


def search_rounds(
    spec: Spec,
    ledger: Ledger,
    train: Iterator[Part],
    reporter: Reporter,
    accepted: Accepted = lambda record: None,
) -> None:
    """Play the missing rounds: on Ray, or here if there are no workers."""

    def history() -> list[TrialResult]:
        return [trial for record in ledger.records for trial in record.trials]

    play_rounds = on_ray if spec.workers.count else in_process
    play_rounds(spec, ledger, train, build_sampler(spec, history), reporter, accepted)


def extend_on_ray(spec: Spec, branches: Sequence[Path]) -> list[list[Extension]]:
    """Extend all branches at the same time, each as a task of an initialised Ray."""
    from bdistil.cluster.tasks import result_of, task_of

    task = task_of(extend, spec.workers)
    return [result_of(each) for each in [task.remote(spec, branch) for branch in branches]]


def on_ray(
    spec: Spec,
    ledger: Ledger,
    train: Iterator[Part],
    sampler: Sampler,
    reporter: Reporter,
    accepted: Accepted,
) -> None:
    """Play the missing rounds on the workers of an initialised Ray."""
    from bdistil.cluster.shared_files import seen_by_all, unmapped
    from bdistil.cluster.stored_margin import StoredMargin
    from bdistil.cluster.tune_experiment import Crew, Experiment, make_workbench

    problem, rules = ledger.problem, game_rules(spec, ledger.problem)
    measure = comparison_measure(spec, problem)
    modules = import_modules(spec.modules)
    if not seen_by_all(problem.validation, spec.workers):
        train = (unmapped(part) for part in train)
        problem = replace(problem, validation=unmapped(problem.validation))
    with closing(StoredMargin(train, rules, spec.workers, modules)) as margin:
        ledger.replay(margin)
        material = Material(problem, margin.parts, spec, rules, measure, modules)
        crew = Crew(make_workbench, material)
        Experiment(spec, ledger, margin, sampler, crew, reporter, accepted).run()


def in_process(
    spec: Spec,
    ledger: Ledger,
    train: Iterable[Part],
    sampler: Sampler,
    reporter: Reporter,
    accepted: Accepted,
) -> None:
    """Play the missing rounds here, one trial after another."""
    margin, bench = prepared(spec, ledger, train)
    InProcessSearch(spec, ledger, margin, sampler, bench, reporter, accepted).run()


def finish(run: RunDirectory, ledger: Ledger) -> None:
    """Write the ensemble and its figures once all rounds, or a budget's worth, are there."""
    if ledger.records:
        write_trials(run, ledger.records)
        evaluation(run)
        export_ensemble(run).save_pretrained(run.ensemble)
