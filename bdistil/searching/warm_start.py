"""What a search learns from the trials of others before its own (`search.warm_start`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bdistil.errors import SpecError
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialResult
from bdistil.searching.progress import Reporter
from bdistil.searching.sampling import dimensions_of_round, distributions
from bdistil.searching.trial_values import lies_within
from bdistil.spec import Spec


def check_warm_start(spec: Spec, run: RunDirectory) -> None:
    """Refuse what is no other run, before a teacher is trained.

    Raises:
        SpecError: for the run itself, whose trials would count twice.
        CheckpointError: for a place without a run.
    """
    for place in spec.search.warm_start:
        if Path(place).resolve() == Path(run.place).resolve():
            raise SpecError(
                f"search.warm_start names {place}, the run itself, which learns from its own "
                f"trials anyway; remove it."
            )
        RunDirectory.existing(place)


def trials_to_start_from(spec: Spec, reporter: Reporter) -> list[list[TrialResult]]:
    """Every trial of each run that finished or was cut; how many say anything here is told."""
    others = []
    for place in spec.search.warm_start:
        records = RunDirectory.existing(place).journal.read()
        trials = [trial for record in records for trial in record.compared]
        reporter.message(told(spec, place, trials))
        others.append(trials)
    return others


def told(spec: Spec, place: str, trials: Sequence[TrialResult]) -> str:
    """Of how many trials the sampler can learn, for people."""
    source = f"search.warm_start: {place} has {len(trials)} trials"
    if spec.search.algorithm in ("random", "grid"):
        return f"{source}, of which algorithm: {spec.search.algorithm} learns nothing."
    space = distributions(spec.space)
    known = sum(
        trial.status != "stopped"
        and lies_within(trial.request.params, dimensions_of_round(space, trial.request.round))
        for trial in trials
    )
    if not known:
        return (
            f"{source}, but none with a value in each dimension of this space, so nothing is "
            f"learnt from them."
        )
    return f"{source}; {known} have a value in each dimension of this space and are learnt from."
