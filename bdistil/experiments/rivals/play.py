"""A rival's answers as figures of an experiment."""

from __future__ import annotations

from pathlib import Path

import torch

from bdistil.core.threads import one_thread
from bdistil.datasets.catalogue import load_dataset
from bdistil.experiments.clock import add_times
from bdistil.experiments.design import Run
from bdistil.experiments.figures import Figures
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.experiments.rivals.methods import RIVALS
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import teacher_network
from bdistil.searching.resolve import resolve
from bdistil.spec.user_modules import import_modules
from bdistil.teachers.obtain import game_logits


def play(run: Run, method: str, teacher_dir: Path) -> Figures:
    """The figures of a rival on a run's data and seed, with the teacher of a run directory.

    Raises:
        SearchError: if every candidate of one of its students fails.
    """
    import_modules(run.spec.modules)
    dataset = load_dataset(run.spec.data, run.spec.seed, run.spec.teacher.columns)
    store = RunDirectory.existing(teacher_dir).teacher
    with one_thread():
        contest = Contest(resolve(run.spec, dataset), dataset, game_logits(store.all_logits()))
        entries = RIVALS[method](contest)
    card, logits = store.card(), torch.as_tensor(store.logits()["test"])
    figures = Figures(run.data, dict(run.cell), run.seed)
    figures.teacher = contest.measure.accuracy(logits, contest.test)
    figures.teacher_flops = card.flops
    figures.stages = [stage(contest, entry) for entry in entries]
    teacher = teacher_network(RunDirectory.existing(teacher_dir), dataset)
    add_times(figures, [entry.students for entry in entries], teacher, dataset.input_shape)
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
