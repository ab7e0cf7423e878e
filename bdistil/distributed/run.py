"""A whole search from a spec to a finished run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bdistil.data.dataset import Dataset
from bdistil.data.registry import load_dataset
from bdistil.distributed.cluster import cluster
from bdistil.distributed.experiment import Crew, Experiment
from bdistil.distributed.journal import RoundRecord
from bdistil.distributed.ledger import Ledger
from bdistil.distributed.margin import StoredMargin
from bdistil.distributed.outcome import evaluation, export_ensemble, write_trials
from bdistil.distributed.problem import Part, Problem, build_problem, training_shards
from bdistil.distributed.progress import Reporter, Silent
from bdistil.distributed.resolve import comparison_measure, game_rules, resolve
from bdistil.distributed.run_directory import RunDirectory
from bdistil.distributed.sampling import build_sampler
from bdistil.distributed.shared_files import seen_by_all, unmapped
from bdistil.distributed.study import mirror_study
from bdistil.distributed.teacher import check_teacher, obtain_teacher
from bdistil.distributed.teacher_store import Logits
from bdistil.distributed.tracking import check_tracking
from bdistil.distributed.workbench import Material, make_workbench
from bdistil.files import sweep
from bdistil.spec import Spec


def run_search(
    spec: Spec,
    out: str | Path,
    *,
    address: str | None = None,
    verbose: bool = False,
    reporter: Reporter | None = None,
) -> RunDirectory:
    """Search, or go on with the search that `out` holds, until all rounds are accepted.

    Args:
        spec: the search.
        out: the run directory, a path or a URI; made if it is not there.
        address: of a Ray cluster; None starts Ray on this machine.
        verbose: let Ray and Tune speak.
        reporter: shows progress; None shows nothing.

    Returns:
        The run directory, complete unless the time budget ended the search.

    Raises:
        BdistilError: for bad input, before anything is written, or for a search that cannot go on.
    """
    reporter = reporter or Silent()
    torch.set_num_threads(1)  # repeatable, and the workers need the other cores
    dataset = load_dataset(spec.data, spec.seed, spec.teacher.columns)
    spec = resolve(spec, dataset)
    run = RunDirectory(out)
    run.check(spec)
    check_teacher(dataset, spec)
    check_tracking(spec.tracking)
    with run.locked(), workers_if_needed(run, spec, address, verbose):
        sweep(run.path)
        run.create(spec)
        logits = taught(run, spec, dataset, reporter)
        problem, train = build_problem(dataset, logits), training_shards(dataset, logits)
        del dataset, logits  # `train` lets go of them once its last shard is read
        play(run, spec, problem, train, reporter)
    return run


def workers_if_needed(
    run: RunDirectory, spec: Spec, address: str | None, verbose: bool
) -> AbstractContextManager[None]:
    """Ray, if rounds are missing; what it lacks is told before a teacher is trained."""
    if len(run.journal.read()) >= spec.search.rounds:
        return nullcontext()
    return cluster(spec.workers, address, verbose)


def taught(run: RunDirectory, spec: Spec, dataset: Dataset, reporter: Reporter) -> Logits:
    """The teacher's logits, from a teacher that is trained if there is none yet."""
    if not run.teacher.exists:
        reporter.message(f"Training the teacher on {len(dataset.train)} examples ...")
    logits = obtain_teacher(run.teacher, dataset, spec, reporter.teacher)
    run.keep()
    return logits


def play(
    run: RunDirectory,
    spec: Spec,
    problem: Problem,
    train: Iterator[Part],
    reporter: Reporter,
) -> None:
    """The missing rounds, then the ensemble."""
    ledger = Ledger(run, problem)
    ledger.restore()
    if ledger.records:
        reporter.message(f"{len(ledger.records)} of {spec.search.rounds} rounds are accepted.")
    if len(ledger.records) < spec.search.rounds:
        search_rounds(run, spec, ledger, train, reporter)
    elif ledger.records:
        mirror_study(run.study_file, spec, ledger.records)  # a crash may have come before it
    finish(run, ledger)


def search_rounds(
    run: RunDirectory, spec: Spec, ledger: Ledger, train: Iterator[Part], reporter: Reporter
) -> None:
    """Play the missing rounds on Ray."""
    problem, rules = ledger.problem, game_rules(spec, ledger.problem)

    def history() -> list[Any]:
        return [trial for record in ledger.records for trial in record.trials]

    def bookkeeping(record: RoundRecord) -> None:
        write_trials(run, ledger.records)
        mirror_study(run.study_file, spec, ledger.records)
        run.keep()

    if not seen_by_all(problem.validation, spec.workers):
        train = (unmapped(part) for part in train)
        problem = replace(problem, validation=unmapped(problem.validation))
    measure, sampler = comparison_measure(spec, problem), build_sampler(spec, history)
    with closing(StoredMargin(train, rules, spec.workers)) as margin:
        ledger.replay(margin)
        crew = Crew(make_workbench, Material(problem, margin.parts, spec, rules, measure))
        Experiment(spec, ledger, margin, sampler, crew, reporter, bookkeeping).run()


def finish(run: RunDirectory, ledger: Ledger) -> None:
    """Write the ensemble and its figures once all rounds, or a budget's worth, are there."""
    if ledger.records:
        write_trials(run, ledger.records)
        evaluation(run)
        export_ensemble(run).save_pretrained(run.ensemble)
