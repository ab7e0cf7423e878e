"""A rival's answers as figures of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bdistil.core.threads import one_thread
from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.experiments.clock import add_times
from bdistil.experiments.design import Run
from bdistil.experiments.figures import Figures
from bdistil.experiments.rivals.cascade import ours_in_cascade
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.experiments.rivals.methods import RIVALS
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import load_students, teacher_network
from bdistil.searching.resolve import resolve
from bdistil.searching.result import SearchResult
from bdistil.spec import Spec
from bdistil.spec.user_modules import import_modules
from bdistil.teachers.obtain import game_logits


def play(run: Run, method: str, teacher_dir: Path) -> Figures:
    """The figures of a rival on a run's data and seed, with the teacher of a run directory.

    Raises:
        SearchError: if every candidate of one of its students fails.
    """
    import_modules(run.spec.modules)
    dataset = load_dataset(run.spec.data, run.spec.seed, run.spec.teacher.columns)
    taught = RunDirectory.existing(teacher_dir)
    with one_thread():
        contest = contest_of(resolve(run.spec, dataset), dataset, taught)
        entries = RIVALS[method](contest)
    return figures_of_entries(run, contest, taught, entries)


def play_in_cascade(run: Run, result: SearchResult, trained: float) -> Figures:
    """The figures of a finished search whose examples leave at the stage that is sure of them.

    Args:
        run: of the experiment.
        result: the search.
        trained: FLOPs of one example times epochs, of all its candidates.

    Raises:
        SearchError: if answers of the task do not say how sure they are.
    """
    with one_thread():
        contest = contest_of(result.run.spec(), result.dataset, result.run)
        students = load_students(result.run, result.dataset)
        entries = ours_in_cascade(contest, students, result.evaluation, trained)
    return figures_of_entries(run, contest, result.run, entries)


def contest_of(spec: Spec, dataset: Dataset, taught: RunDirectory) -> Contest:
    """On a resolved spec's data, with the teacher of a run directory."""
    store, teacher = taught.teacher, teacher_network(taught, dataset)
    return Contest(spec, dataset, game_logits(store.all_logits()), teacher, store.card().flops)


def figures_of_entries(
    run: Run, contest: Contest, taught: RunDirectory, entries: Sequence[Entry]
) -> Figures:
    """What a comparison keeps of answers."""
    logits = torch.as_tensor(taught.teacher.logits()["test"])
    figures = Figures(run.data, dict(run.cell), run.seed)
    figures.teacher = contest.measure.accuracy(logits, contest.test)
    figures.teacher_flops = contest.teacher_flops
    figures.stages = [stage(contest, entry) for entry in entries]
    add_times(figures, [entry.runs for entry in entries], contest.teacher, contest.shape)
    return figures


def stage(contest: Contest, entry: Entry) -> dict[str, float]:
    """One answer as a stage."""
    return {
        "metric": contest.measure.accuracy(entry.test, contest.test),
        "validation": contest.measure.accuracy(entry.validation, contest.validation),
        "flops": entry.flops,
        "streamed_flops": entry.streamed,
        "parameters": entry.parameters,
        "trained": entry.trained,
    }
