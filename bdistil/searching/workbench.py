"""What a worker keeps between trials: data on its device, the ensemble, cached activations."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bdistil.core.cohort import Member, find_weak_learners, vectorises
from bdistil.core.examples import Measure
from bdistil.core.find_weak_learner import Finding
from bdistil.core.game import Rules
from bdistil.core.milestones import Cut, Milestones
from bdistil.core.one_by_one import find_one_by_one
from bdistil.core.placement import Device, home
from bdistil.core.progressive_ensemble import ProgressiveEnsemble, move
from bdistil.core.round import Round
from bdistil.core.student import Student
from bdistil.core.tensors import as_tensor
from bdistil.core.training_split import ShouldStop, TrainingSplit
from bdistil.core.training_state import Keep, StateError, TrainingState
from bdistil.core.views import Views
from bdistil.errors import BdistilWarning, SearchError
from bdistil.export.checkpoint import student_from_bytes, student_to_bytes
from bdistil.runs.trial import Cohort, TrialAnswer, TrialRequest
from bdistil.searching.announcement import Announcement, Ask
from bdistil.searching.candidates import Candidates, resolved_recipe
from bdistil.searching.checkpointing import NOTHING_SAVED, Keeper, Saves
from bdistil.searching.cost_limits import NO_LIMITS, CostLimits
from bdistil.searching.margin_shard import ShardState
from bdistil.searching.problem import Problem
from bdistil.searching.trial_runner import Outcome
from bdistil.spec import Spec
from bdistil.spec.user_modules import UserModule

Found = Finding | Cut | SearchError | None  # figures, how far it came, why not, or stopped


@dataclasses.dataclass(frozen=True)
class Material:
    """What every workbench of a search is built from; constant, shared by all workers.

    Attributes:
        problem: what is known of the data, with the validation split.
        train: the training split's shards in row order; on their way to a worker, object
            references to them.
        spec: the resolved search.
        rules: constants of the game.
        measure: the loss by which candidates are compared.
        limits: see :class:`~bdistil.searching.backend.Work`.
        modules: users' own code, loaded before anything is built.
    """

    problem: Problem
    train: Sequence[Any]
    spec: Spec
    rules: Rules
    measure: Measure
    limits: CostLimits = NO_LIMITS
    modules: Sequence[UserModule] = ()


class Workbench:
    """Trains candidates of one search, round after round.

    Args:
        material: what is constant.
        device: where to train; data that do not fit there stay in host memory.
    """

    def __init__(self, material: Material, device: Device = "cpu") -> None:
        self.material = material
        self.problem = problem = material.problem
        self.spec = material.spec
        self.measure = material.measure
        self.device = torch.device(device)
        self.ensemble = ProgressiveEnsemble(problem.outputs)
        self.candidates = Candidates(problem, self.spec, material.limits, self.ensemble)
        parts = [part.examples() for part in material.train]
        validation = problem.validation.examples()
        size = sum(part.nbytes for part in [*parts, validation])
        self.home = home(size, device, self.spec.workers.gpus)
        self.train = TrainingSplit.before_round_one(
            [part.to(self.home) for part in parts], material.rules
        )
        self.copies = [part.views for part in parts]
        self.validation = validation.to(self.home)
        self.round: Round | None = None
        self.ask: Ask | None = None

    def open_round(self, announcement: Announcement) -> None:
        """Take in the students accepted since the last round and the new margin."""
        for student in announcement.students:
            self.ensemble.append(self.load(student))
        self.validation = self.validation.after(self.ensemble)
        self.train = self.joined(announcement)
        self.round = Round.of(self.train, self.validation, self.measure)
        self.ask = announcement.ask

    def joined(self, announcement: Announcement) -> TrainingSplit:
        """The training split in the announced round, where the data lie."""
        if announcement.round == 1:
            return self.train
        states = announcement.fetch()
        return self.train.with_margins(
            [as_tensor(state.margin).to(self.home) for state in states],
            announcement.summary.to(self.home),
            [[move(hidden, self.home) for hidden in state.hidden()] for state in states],
            [self.views(state, copies) for state, copies in zip(states, self.copies, strict=True)],
        )

    def views(self, state: ShardState, before_round_one: Views | None) -> Views | None:
        """A shard's copies in the announced round, where the data lie."""
        views = state.views(before_round_one)
        return None if views is None else views.to(self.home)

    def load(self, student: Student | bytes) -> Student:
        """The next student of the ensemble, on this device; one of this process stays its own."""
        if isinstance(student, Student):
            return copy.deepcopy(student).to(self.device)
        shape, outputs = self.problem.input_shape, self.problem.outputs
        earlier = self.ensemble.features
        return student_from_bytes(student, shape, outputs, earlier, "a student").to(self.device)

    def run(
        self, cohort: Cohort, should_stop: ShouldStop, saves: Saves = NOTHING_SAVED
    ) -> list[Outcome]:
        """Train and judge candidates, together where torch can stack them: figures and weights."""
        keep = Keeper(saves.keep)
        if saves.earlier is not None:
            try:
                return self.outcomes(cohort, should_stop, keep, saves.earlier.state())
            except StateError as error:
                warnings.warn(told_unfit(cohort, error), BdistilWarning, stacklevel=2)
        return self.outcomes(cohort, should_stop, keep)

    def outcomes(
        self,
        cohort: Cohort,
        should_stop: ShouldStop,
        keep: Keep,
        earlier: TrainingState | None = None,
    ) -> list[Outcome]:
        """The same, from the first epoch or from a state on.

        Raises:
            StateError: if that is of other candidates.
        """
        recipes = [resolved_recipe(request, self.spec) for request in cohort.requests]
        members = [
            Member(self.candidates.draw(request, recipe).to(self.device), recipe, request.attempt)
            for request, recipe in zip(cohort.requests, recipes, strict=True)
        ]
        together = self.train_together(members)
        train = self.together if together else self.one_by_one
        findings = train(cohort, members, should_stop, keep, earlier)
        size = len(members) if together else 1
        return [
            self.outcome(member.student, finding, size)
            for member, finding in zip(members, findings, strict=True)
        ]

    def train_together(self, members: list[Member]) -> bool:
        """Whether these candidates can train as a cohort."""
        assert self.round is not None, "open_round comes first"
        if len(members) == 1 or members[0].recipe.early_accept:
            return False
        return vectorises(members[0].student, self.round)

    def together(
        self,
        cohort: Cohort,
        members: list[Member],
        should_stop: ShouldStop,
        keep: Keep,
        earlier: TrainingState | None,
    ) -> list[Found]:
        """Train and judge stacked candidates, on the batches of the first one."""
        assert self.round is not None
        findings = find_weak_learners(
            members,
            self.round,
            seed=cohort.requests[0].seed,
            compiled=self.spec.workers.compile,
            milestones=self.milestones(cohort.requests),
            should_stop=should_stop,
            earlier=earlier,
            keep=keep,
        )
        return [None] * len(members) if findings is None else [*findings]

    def one_by_one(
        self,
        cohort: Cohort,
        members: list[Member],
        should_stop: ShouldStop,
        keep: Keep,
        earlier: TrainingState | None,
    ) -> list[Found]:
        """Train and judge candidates one after another."""
        assert self.round is not None
        return [
            *find_one_by_one(
                members,
                self.round,
                [request.seed for request in cohort.requests],
                min_edge=self.spec.search.min_edge,
                compiled=self.spec.workers.compile,
                milestones=self.milestones(cohort.requests),
                should_stop=should_stop,
                earlier=earlier,
                keep=keep,
            )
        ]

    def milestones(self, requests: Sequence[TrialRequest]) -> Milestones | None:
        """Where candidates that train together may be cut, by their places; None if nowhere."""
        pruner, ask = self.spec.search.pruner, self.ask
        if pruner is None or ask is None:
            return None

        def cut(step: int, losses: Mapping[int, float]) -> list[int]:
            asking = [requests[place] for place in losses]
            return [*itertools.compress(losses, ask(asking, step, list(losses.values())))]

        return Milestones(pruner.first, pruner.factor, cut)

    def outcome(self, student: Student, finding: Found, cohort: int) -> Outcome:
        """The figures and the weights of a trained candidate."""
        if finding is None:
            return TrialAnswer(status="stopped"), None
        if isinstance(finding, SearchError):
            return TrialAnswer(status="failed", reason=str(finding)), None
        if isinstance(finding, Cut):
            return self.cut_answer(student, finding, cohort), None
        assert self.round is not None
        search = self.spec.search
        least_edge = search.least_edge(self.round.train.stage)
        answer = TrialAnswer(
            status="finished",
            width=student.config.width,
            cohort=cohort,
            device=self.place,
            weak=finding.is_weak_learner(least_edge, search.min_gain),
            **dataclasses.asdict(finding),
        )
        return answer, student_to_bytes(student)

    def cut_answer(self, student: Student, found: Cut, cohort: int) -> TrialAnswer:
        """How far a candidate came that was cut."""
        epochs, loss = found.losses[-1]
        return TrialAnswer(
            status="cut",
            width=student.config.width,
            cohort=cohort,
            device=self.place,
            loss=loss,
            gain=found.gain,
            epochs=epochs,
            seconds=found.seconds,
            milestones=found.losses,
        )

    @property
    def place(self) -> str:
        """Where candidates train, in words for the record."""
        resident = self.home.type == self.device.type
        return self.device.type if resident else f"{self.device.type}, data in host memory"


def told_unfit(cohort: Cohort, error: StateError) -> str:
    """That a checkpoint is of no use, for people."""
    return (
        f"the checkpoint of {cohort.told} of round {cohort.round} cannot be used ({error}), so "
        "training starts anew."
    )
