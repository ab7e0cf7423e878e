"""A whole search from a spec to a finished run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from bdistil.core.threads import one_thread
from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SearchError
from bdistil.export.ensemble import Ensemble
from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialResult
from bdistil.searching.backend import Backend, TrialBackend, Work, opened
from bdistil.searching.cohort_size import told_cohorts
from bdistil.searching.cost_limits import NO_LIMITS, CostLimits
from bdistil.searching.few_steps import told_few_steps
from bdistil.searching.goal import Goal, goal_of
from bdistil.searching.kept_trials import KeptTrials
from bdistil.searching.ledger import Ledger
from bdistil.searching.local import LocalBackend
from bdistil.searching.loop import Accepted, SearchLoop
from bdistil.searching.optuna_study import mirror_study
from bdistil.searching.outcome import for_raw_data, write_trials
from bdistil.searching.problem import Part, Problem, build_problem, training_shards
from bdistil.searching.progress import Reporter, Silent
from bdistil.searching.resolve import comparison_measure, game_rules, resolve
from bdistil.searching.result import SearchResult
from bdistil.searching.sampling import build_sampler
from bdistil.searching.search_teacher import (
    obtain_logits,
    say_if_another_teacher_is_better,
    take_over,
)
from bdistil.searching.stage_plan import told_ladder
from bdistil.searching.telling_flops import told_flops
from bdistil.searching.views import told_views, view_makers
from bdistil.searching.warm_start import check_warm_start, told_warm_start, trials_to_start_from
from bdistil.searching.worker_count import told_precision, told_workers
from bdistil.spec import Spec
from bdistil.spec.space import LADDER
from bdistil.spec.user_modules import import_modules
from bdistil.store.durable import sweep
from bdistil.store.scratch import ScratchFolder
from bdistil.teachers.obtain import (
    check_same_files,
    check_teacher,
    check_unchanged,
)
from bdistil.teachers.select import teacher_source
from bdistil.teachers.teacher_store import Logits
from bdistil.words import counted


def run_search(
    spec: Spec,
    out: str | Path,
    backend: Backend,
    *,
    reporter: Reporter | None = None,
    teacher_dir: Path | None = None,
) -> SearchResult:
    """Search, or go on with the search that `out` holds, until all rounds are accepted.

    Args:
        spec: the search.
        out: the run directory, a path or a URI; made if it is not there.
        backend: runs the trials.
        reporter: shows progress; None shows nothing.
        teacher_dir: a run directory (see :func:`run_teacher`) whose teacher is taken instead of
            a new one.

    Returns:
        The run, complete unless the time budget ended the search.

    Raises:
        BdistilError: for bad input, before anything is written, or for a search that cannot go on.
    """
    reporter = reporter or Silent()
    torch.set_num_threads(1)  # repeatable, and the workers need the other cores
    asked = spec
    run, spec, dataset = open_run(spec, out, backend)
    missing = not run.journal.is_over(spec.search.most_rounds)
    with run.locked(), opened_if(missing, backend, spec):
        sweep(run.path)
        run.create(spec)
        say_what_was_read(run, dataset, reporter)
        if run.journal.read():  # then it was decided, and said, when the run began
            asked = asked.as_decided_in(spec)
            if not missing and asked.goal != spec.goal:
                reporter.message(
                    "A run that has ended stays as it is, also for another goal; to search for "
                    "that, choose another --out."
                )
        if missing:
            say_what_was_decided(asked, spec, dataset, reporter)
        if teacher_dir is not None and not run.teacher.exists:
            take_over(RunDirectory.existing(teacher_dir), run)
        logits = obtain_logits(run, spec, dataset, backend, reporter)
        if asked.teacher.model == "auto" and not run.journal.read():
            say_if_another_teacher_is_better(run, dataset, logits)
        play(run, spec, dataset, logits, backend, reporter)
        if advice := told_few_steps(spec, dataset, run.journal.end()):
            reporter.message(advice)
        result = SearchResult(run, dataset)
        with run.while_there():
            if result.rounds:
                result.write()
        run.check_there()  # without its folder a run has no rounds
    return result


def open_run(spec: Spec, out: str | Path, backend: Backend) -> tuple[RunDirectory, Spec, Dataset]:
    """The run directory, the spec with every `auto` decided, and its data, all fit for a search.

    Raises:
        BdistilError: if they are not.
    """
    import_modules(spec.modules)
    run = RunDirectory(out).fetched()
    if run.journal.read():
        spec = spec.as_decided_in(run.spec())
        if run.journal.is_over(spec.search.most_rounds):  # it stays what was searched for
            spec = spec.model_copy(update={"goal": run.spec().goal})
    dataset = load_dataset(spec.data, spec.seed, spec.teacher.columns)
    spec = resolve(spec, dataset)
    run.check(spec)
    if run.has_teacher_of(spec):
        check_same_files(run.teacher, spec.teacher)
        check_unchanged(run.teacher, dataset)  # before anything of the run is written
    else:
        check_teacher(dataset, spec)
    backend.check(spec)
    if not run.journal.is_over(spec.search.most_rounds):
        check_warm_start(spec, run)
    return run, spec, dataset


def opened_if(wanted: bool, backend: Backend, spec: Spec) -> AbstractContextManager[None]:
    """The backend's workers, if wanted; what they lack is told before a teacher is made."""
    return opened(backend, spec) if wanted else nullcontext()


def run_teacher(
    spec: Spec, out: Path, backend: Backend, reporter: Reporter | None = None
) -> RunDirectory:
    """A run directory that holds a teacher and no rounds, for several searches to share.

    Raises:
        BdistilError: for bad input.
    """
    torch.set_num_threads(1)
    run, spec, dataset = open_run(spec, out, backend)
    fitted = not run.teacher.exists and teacher_source(dataset, spec).can_refit
    with run.locked(), opened_if(fitted, backend, spec):
        sweep(run.path)
        run.create(spec)
        reporter = reporter or Silent()
        say_what_was_read(run, dataset, reporter)
        obtain_logits(run, spec, dataset, backend, reporter)
    return run


def search_dataset(
    spec: Spec,
    dataset: Dataset,
    backend: Backend | None = None,
    reporter: Reporter | None = None,
) -> Ensemble:
    """Search on data that are in memory and keep nothing but the ensemble.

    Args:
        spec: the search; its `data` is not looked at.
        dataset: the data.
        backend: runs the trials; None runs them here.
        reporter: shows progress; None shows nothing.

    Raises:
        BdistilError: for bad input, or for a search that cannot go on.
    """
    backend, reporter = backend or LocalBackend(), reporter or Silent()
    import_modules(spec.modules)
    spec = resolve(spec, dataset)
    check_teacher(dataset, spec)
    backend.check(spec)
    with ScratchFolder("search") as folder:
        run = RunDirectory(folder)
        with one_thread(), opened(backend, spec):
            logits = obtain_logits(run, spec, dataset, backend, reporter)
            ledger = Ledger(run, build_problem(dataset, logits))
            goal = goal_of(spec, run, dataset, logits, reporter)
            train = training_shards(dataset, logits, view_makers(spec, dataset))
            search_rounds(spec, ledger, train, backend, reporter, goal=goal)
        if not ledger.records:
            raise SearchError("search.time_budget ended before a round was accepted; raise it.")
    ensemble = ledger.ensemble.eval()
    return for_raw_data(ensemble, dataset, spec.name, teacher_logits=logits["validation"])


def say_what_was_read(run: RunDirectory, dataset: Dataset, reporter: Reporter) -> None:
    """Show the data's card and keep it in the run."""
    if dataset.card is not None:
        reporter.message(str(dataset.card))
        run.write(run.data_file, dataset.card.model_dump_json(indent=2).encode())


def say_what_was_decided(asked: Spec, spec: Spec, dataset: Dataset, reporter: Reporter) -> None:
    """Tell of what the spec leaves open."""
    if asked.workers.count is None:
        reporter.message(told_workers(spec, dataset))
    if asked.search.cohort is None and spec.search.together > 1:
        reporter.message(told_cohorts(spec))
    if asked.space.ladder is None and spec.space.ladder != LADDER:
        reporter.message(told_ladder(spec))
    if limit := told_flops(asked, spec):
        reporter.message(limit)
    if views := told_views(asked, spec, dataset):
        reporter.message(views)
    if precision := told_precision(spec):
        reporter.message(precision)


def play(
    run: RunDirectory,
    spec: Spec,
    dataset: Dataset,
    logits: Logits,
    backend: Backend,
    reporter: Reporter,
) -> None:
    """The missing rounds."""

    def bookkeeping(record: RoundRecord) -> None:
        with run.while_there():
            write_trials(run, ledger.records)
            mirror_study(run.study_file, spec, ledger.records)
            run.keep()

    ledger = Ledger(run, build_problem(dataset, logits))
    ledger.restore()
    if ledger.records:
        rounds = counted(spec.search.most_rounds, "round")
        reporter.message(f"{len(ledger.records)} of {rounds} accepted.")
    ended = run.journal.end()
    if ended is not None:
        reporter.message(f"It has ended: {ended.reason}.")
    if ended is None and len(ledger.records) < spec.search.most_rounds:
        goal = goal_of(spec, run, dataset, logits, reporter)
        train = training_shards(dataset, logits, view_makers(spec, dataset))
        kept = KeptTrials(backend, run, reporter.message)
        search_rounds(spec, ledger, train, kept, reporter, bookkeeping, goal)
        if run.journal.end() or len(ledger.records) == spec.search.most_rounds:
            kept.clear()
    elif ledger.records:
        mirror_study(run.study_file, spec, ledger.records)  # a crash may have come before it


def search_rounds(
    spec: Spec,
    ledger: Ledger,
    train: Iterator[Part],
    backend: TrialBackend,
    reporter: Reporter,
    accepted: Accepted = lambda record: None,
    goal: Goal | None = None,
) -> None:
    """Play the missing rounds on an opened backend."""

    def history() -> list[TrialResult]:
        return [trial for record in ledger.records for trial in record.compared]

    limits = NO_LIMITS if goal is None else goal.limits
    backend.start(work_of(spec, ledger.problem, train, ledger.directory.path, limits))
    others = trials_to_start_from(spec)
    sampler = build_sampler(spec, history, others)
    for line in told_warm_start(spec, others, sampler, len(ledger.records) + 1):
        reporter.message(line)
    SearchLoop(spec, ledger, backend, sampler, reporter, accepted, goal).run()


def work_of(
    spec: Spec, problem: Problem, train: Iterator[Part], folder: Path, limits: CostLimits
) -> Work:
    """A search as a backend takes it."""
    rules, measure = game_rules(spec, problem), comparison_measure(spec, problem)
    return Work(spec, problem, train, rules, measure, folder, limits)
