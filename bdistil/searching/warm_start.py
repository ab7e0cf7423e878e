"""What a search learns from the trials of others before its own (`search.warm_start`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bdistil.errors import CheckpointError, SpecError
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialResult
from bdistil.searching.sampling import MOST_REMEMBERED, OptunaSampler, Sampler
from bdistil.spec import Spec
from bdistil.store.remote import is_uri
from bdistil.words import counted


def absolute_places(places: Sequence[str]) -> list[str]:
    """The same runs, named so that they are found from any working directory."""
    return [place if is_uri(place) else str(Path(place).resolve()) for place in places]


def check_warm_start(spec: Spec, run: RunDirectory) -> None:
    """Refuse what is no other run, before a teacher is trained.

    Raises:
        SpecError: for the run itself, whose trials would count twice.
        CheckpointError: for a place without a run, or with a damaged one.
    """
    for place in spec.search.warm_start:
        if Path(place).resolve() == Path(run.place).resolve():
            raise SpecError(
                f"search.warm_start names {place}, the run itself, which learns from its own "
                f"trials anyway; remove it."
            )
        trials_of(place)


def trials_to_start_from(spec: Spec) -> list[list[TrialResult]]:
    """Every trial of each run that finished or was cut."""
    return [trials_of(place) for place in spec.search.warm_start]


def trials_of(place: str) -> list[TrialResult]:
    """Those of one run.

    Raises:
        CheckpointError: if there is none, or its journal is damaged.
    """
    try:
        records = RunDirectory.existing(place).journal.read()
    except CheckpointError as error:
        raise CheckpointError(
            f"search.warm_start: {str(error).rstrip('.')}, or learn from no other run by "
            f"search.warm_start=[]."
        ) from None
    return [trial for record in records for trial in record.compared]


def told_warm_start(
    spec: Spec, others: Sequence[Sequence[TrialResult]], sampler: Sampler, first: int
) -> Iterator[str]:
    """Of how many trials of each run the rounds learn, from the `first` that is played on."""
    for position, (place, trials) in enumerate(zip(spec.search.warm_start, others, strict=True)):
        has = f"search.warm_start: {place} has {counted(len(trials), 'trial')}"
        if isinstance(sampler, OptunaSampler) and sampler.algorithm != "random":
            yield has + told_learnt(sampler, position, first, spec.search.most_rounds)
        else:
            yield f"{has}, of which algorithm: {spec.search.algorithm} learns nothing."


def told_learnt(sampler: OptunaSampler, position: int, first: int, last: int) -> str:
    """How much of the search at that position is learnt from, for people."""
    remembered = [sampler.remembered(number) for number in sorted({first, min(first + 1, last)})]
    known = [len(searches[position]) for searches in remembered]
    full = any(sum(map(len, searches)) == MOST_REMEMBERED for searches in remembered)
    if not any(known) and not full:
        return (
            ", but none with a value in each dimension of this space, so nothing is learnt from "
            "them."
        )
    later = f", later ones from {known[1]}" if first == 1 != last else ""
    most = f", as {MOST_REMEMBERED} are the most" if full else ""
    return f"; round {first} learns from {known[0]} of them{later}{most}."
