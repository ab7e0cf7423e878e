"""Candidates that train one after another as one cohort, where they cannot train together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bdistil.core.cohort import Member
from bdistil.core.endings import Ended, ended_from, ended_values
from bdistil.core.find_weak_learner import Finding, find_weak_learner
from bdistil.core.milestones import Cut, Milestones
from bdistil.core.round import Round
from bdistil.core.training_split import ShouldStop
from bdistil.core.training_state import (
    Keep,
    StateError,
    Tensors,
    TrainingState,
    check_alike,
    keep_nothing,
    on_cpu,
    only_its_own,
)
from bdistil.errors import SearchError


def find_one_by_one(
    members: Sequence[Member],
    state: Round,
    seeds: Sequence[int],
    *,
    min_edge: float = 0.0,
    compiled: bool = False,
    milestones: Milestones | None = None,
    should_stop: ShouldStop = lambda: False,
    earlier: TrainingState | None = None,
    keep: Keep = keep_nothing,
) -> list[Ended | None]:
    """Train candidates in place, each as ``find_weak_learner`` does, and judge them.

    Args:
        members: the candidates, maybe just one.
        state: the round.
        seeds: of the order of the examples, one a member.
        min_edge: for `early_accept` only.
        compiled: see ``find_weak_learner``.
        milestones: where members may be cut, by their places.
        should_stop: see ``find_weak_learner``.
        earlier: of a part of this very training: the rest goes as it would have gone, to the bit.
        keep: offered the state after each epoch of a member but its last.

    Returns:
        For each member its figures, how far it came, why it failed, or None if it was stopped.

    Raises:
        StateError: if `earlier` is of another training.
    """
    series = _Series(members, milestones)
    going_on = None
    if earlier is not None:
        with only_its_own():
            going_on = series.restore(earlier)
    for place in range(len(series.ended), len(members)):
        found: Ended | None
        try:
            found = find_weak_learner(
                members[place].student,
                state,
                members[place].recipe,
                attempt=members[place].attempt,
                seed=seeds[place],
                min_edge=min_edge,
                compiled=compiled,
                milestones=series.milestones_of(place),
                should_stop=should_stop,
                earlier=going_on,
                keep=lambda take: keep(lambda: series.state(take())),
            )
        except SearchError as error:
            found = error
        going_on = None
        series.ended.append(found)
    return series.ended


class _Series:
    """What became of the members so far."""

    def __init__(self, members: Sequence[Member], milestones: Milestones | None) -> None:
        self.members, self.milestones = members, milestones
        self.ended: list[Ended | None] = []

    def milestones_of(self, place: int) -> Milestones | None:
        """The milestones of a member that trains alone."""
        if self.milestones is None:
            return None
        cut = self.milestones.cut

        def cut_alone(step: int, losses: Mapping[int, float]) -> list[int]:
            return [0] if place in cut(step, {place: losses[0]}) else []

        return replace(self.milestones, cut=cut_alone)

    def state(self, of_member: TrainingState) -> TrainingState:
        """That of them all, while one trains."""
        ended = [each for each in self.ended if each is not None]
        values = {"ended": [*map(ended_values, ended)], "member": dict(of_member.values)}
        weights = on_cpu(self._weights(ended))
        tensors = {**weights, **_prefixed("member", of_member.tensors)}
        before = sum(each.seconds for each in ended if not isinstance(each, SearchError))
        return TrainingState(of_member.epochs, before + of_member.seconds, tensors, values)

    def restore(self, state: TrainingState) -> TrainingState:
        """Take in those that had ended; the state of the one that was training.

        Raises:
            StateError: if it is of another cohort.
        """
        ended = [ended_from(each) for each in state.values["ended"]]
        if len(ended) >= len(self.members):
            raise StateError(f"it is of more than {len(self.members)} members")
        weights = self._weights(ended)
        there, own = {}, {}
        for name, tensor in state.tensors.items():
            if name.startswith("member."):
                own[name.removeprefix("member.")] = tensor
            else:
                there[name] = tensor
        check_alike(there, weights)
        with torch.no_grad():
            for name, tensor in weights.items():
                tensor.copy_(there[name])
        self.ended = [*ended]
        for place, each in enumerate(ended):
            self._recall(place, each)
        before = sum(each.seconds for each in ended if not isinstance(each, SearchError))
        return TrainingState(state.epochs, state.seconds - before, own, state.values["member"])

    def _weights(self, ended: Sequence[Ended]) -> dict[str, Tensor]:
        """Those of members that finished; of the others nobody wants them."""
        found: dict[str, Tensor] = {}
        for place, each in enumerate(ended):
            if isinstance(each, Finding):
                found |= _prefixed(str(place), self.members[place].student.state_dict())
        return found

    def _recall(self, place: int, ended: Ended) -> None:
        milestones = self.milestones_of(place)
        if milestones is not None and not isinstance(ended, SearchError):
            losses = ended.losses if isinstance(ended, Cut) else ended.milestones
            milestones.recall(self.members[place].recipe.epochs, [losses])


def _prefixed(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
