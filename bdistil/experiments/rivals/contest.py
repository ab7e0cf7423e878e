"""What every method of a comparison gets: data, teacher, costs to keep to, and tries."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bdistil.core.cohort import Member, find_weak_learners, vectorises
from bdistil.core.cost import parameters
from bdistil.core.examples import Examples, Measure
from bdistil.core.find_weak_learner import Finding, find_weak_learner
from bdistil.core.growth import folded_flops, widest
from bdistil.core.milestones import Cut
from bdistil.core.progressive_ensemble import ProgressiveEnsemble, hidden_states
from bdistil.core.recipes import Recipe
from bdistil.core.round import Round
from bdistil.core.seeds import derived_seed
from bdistil.core.student import Student, StudentConfig
from bdistil.core.tensors import as_tensor
from bdistil.core.training_split import TrainingSplit
from bdistil.data.dataset import Dataset
from bdistil.data.standardise import TargetScale, standardised
from bdistil.errors import SearchError
from bdistil.experiments.clock import Shares, prefixes
from bdistil.export.checkpoint import build_student
from bdistil.runs.trial import TrialRequest
from bdistil.searching.candidates import resolved_recipe
from bdistil.searching.problem import build_problem, training_shards
from bdistil.searching.resolve import comparison_measure, game_rules
from bdistil.searching.sampling import build_sampler
from bdistil.searching.verdict import clearly_best
from bdistil.searching.views import view_makers
from bdistil.spec import Spec
from bdistil.teachers.teacher_store import Logits

ADDED = ("flops", "validation", "test", "parameters", "trained", "streamed")


@dataclass(frozen=True)
class Entry:
    """What a method answers within a budget.

    Attributes:
        flops: of one example, for everything that this answer needs.
        validation: logits on the validation split, float (N, L).
        test: logits on the test split, float (N, L).
        parameters: values to store for it.
        trained: cost of training: FLOPs of one example times epochs, over all candidates.
        streamed: FLOPs when all cheaper answers are given on the way.
        runs: what is timed: students whose last stage it is, a network from standardised inputs to
            logits, or shares of examples that run several; None if it cannot be timed.
    """

    flops: int
    validation: Tensor
    test: Tensor
    parameters: int
    trained: float
    streamed: int
    runs: nn.Module | Shares | None = None


@dataclass(frozen=True)
class Trained:
    """A student that was chosen on validation.

    Attributes:
        student: in evaluation mode.
        loss: on validation.
        flops: of one example.
        trained: FLOPs of one example times epochs, over all its candidates.
    """

    student: Student
    loss: float
    flops: int
    trained: float


class Contest:
    """One data set, teacher and seed.

    Args:
        spec: a resolved search, whose space, rounds and tries hold for every method.
        dataset: its data.
        logits: the teacher's, of every split.
        teacher: the network of standardised inputs, if it is one and at hand.
        teacher_flops: of one example; None if they are not known.
    """

    def __init__(
        self,
        spec: Spec,
        dataset: Dataset,
        logits: Logits,
        teacher: nn.Module | None = None,
        teacher_flops: int | None = None,
    ) -> None:
        self.spec = spec
        self.teacher, self.teacher_flops = teacher, teacher_flops
        self.task = dataset.task
        self.shape, self.outputs = dataset.input_shape, dataset.outputs
        targets = TargetScale.of(dataset)

        def examples(name: str) -> Examples:
            split = getattr(dataset, name)
            return Examples.before_round_one(
                as_tensor(standardised(dataset, split)),
                as_tensor(logits[name]),
                as_tensor(targets.standardise(split.y)),
                weights=None if split.weights is None else as_tensor(split.weights),
            )

        self.train, self.validation, self.test = map(examples, ("train", "validation", "test"))
        self.parts = [
            part.examples() for part in training_shards(dataset, logits, view_makers(spec, dataset))
        ]
        problem = build_problem(dataset, logits)
        self.rules = game_rules(spec, problem)
        self.measure: Measure = comparison_measure(spec, problem)
        self.drawn: dict[int, list[dict[str, Any]]] = {}

    @property
    def stages(self) -> int:
        """How many budgets there are."""
        return self.spec.search.most_rounds

    @property
    def candidates(self) -> int:
        """How many are tried for each student, as in a round of the search."""
        return self.spec.search.tries

    @cached_property
    def budgets(self) -> list[float]:
        """FLOPs of one example up to each stage, as the search's growth rule has them."""
        first = self.cost(self.spec.space.rungs[0][1])
        growth = self.recipe(1, 0).growth
        if not growth:
            return [first * float(stage) for stage in range(1, self.stages + 1)]
        return [first * growth**stage for stage in range(self.stages)]

    def cost(self, width: int) -> int:
        """FLOPs of one student alone."""
        with torch.device("meta"):
            return folded_flops(self.student(width), self.shape, ())

    def width(self, budget: float) -> int:
        """The widest student within a budget of FLOPs; of width 1 if there is none."""
        return max(1, widest(self.cost, budget, kind=self.spec.space.students[0]))

    def widths(self) -> list[int]:
        """Members whose sum keeps to the budgets, stage by stage, as the search's do."""
        found: list[int] = []
        for budget in self.budgets:
            found.append(self.width(budget - sum(map(self.cost, found))))
        return found

    def student(self, width: int, recipe: Recipe | None = None) -> Student:
        """A new student without connections; its weights start as a recipe's, or the first's."""
        kind = self.spec.space.students[0]
        config = StudentConfig(kind, width, "none", (recipe or self.recipe(1, 0)).skip)
        return build_student(config, self.shape, self.outputs, ())

    def recipe(self, member: int, candidate: int) -> Recipe:
        """A candidate's settings, drawn from the search's space."""
        request = TrialRequest(
            round=member,
            number=candidate,
            rung=0,
            attempt=0,
            params=self.params(member, candidate),
            seed=0,
        )
        return resolved_recipe(request, self.spec)

    def params(self, member: int, candidate: int) -> dict[str, Any]:
        """A candidate's values, drawn as the search draws those of its first round.

        Those of a cohort differ only where cohorts may.
        """
        drawn = self.drawn.setdefault(member, [])
        if not drawn:
            sampler = build_sampler(self.spec, list)
            sampler.open_round(1)
            for number in range(self.candidates):
                first = number - number % self.spec.search.together
                shared = None if first == number else drawn[first]
                drawn.append(sampler.ask(member, number, shared))
        return drawn[candidate]

    def members(self, width: int, number: int, seeds: Sequence[int]) -> list[Member]:
        """Fresh candidates for one student, their weights drawn from their seeds."""
        found = []
        for candidate, seed in enumerate(seeds):
            recipe = self.recipe(number, candidate)
            torch.manual_seed(seed)
            found.append(Member(self.student(width, recipe), recipe))
        return found

    def seeds(self, number: int) -> list[int]:
        """Of the candidates for one student, the same as in the search's round of that number.

        So methods differ by what they do, and less by luck: all have the same first student.
        """
        return [
            derived_seed(self.spec.seed, "trial", number, each) for each in range(self.candidates)
        ]

    def findings(
        self, members: Sequence[Member], state: Round, seeds: Sequence[int]
    ) -> list[Finding | SearchError]:
        """Train candidates in place, cohort by cohort as the search's; their figures."""
        size = self.spec.search.together
        starts = range(0, len(members), size)
        groups = [(members[at : at + size], seeds[at : at + size]) for at in starts]
        return [each for group, own in groups for each in findings_of(group, state, own)]

    def state(self, examples: Examples | None = None) -> Round:
        """Plain distillation: a first round, in which there are no edges.

        Args:
            examples: what is distilled, without copies of them; the training split, with whatever
                copies the search has of it, if left out.
        """
        parts = self.parts if examples is None else [examples]
        train = TrainingSplit.before_round_one(parts, self.rules)
        return Round.of(train, self.validation, self.measure)

    def fit(self, width: int, member: int, examples: Examples | None = None) -> Trained:
        """The best on validation of as many candidates as a round of the search has, by its rule.

        Args:
            width: of the student.
            member: number of the student; decides on values and seeds.
            examples: see :meth:`state`.

        Raises:
            SearchError: if every candidate's loss is no longer finite.
        """
        seeds = self.seeds(member)
        members = self.members(width, member, seeds)
        findings = self.findings(members, self.state(examples), seeds)
        flops = self.cost(width)
        spent = flops * sum(float(each.recipe.epochs) for each in members)
        best = clearly_best([each for each in findings if isinstance(each, Finding)])
        if not best:
            raise all_failed(findings)
        chosen = min(best, key=lambda finding: finding.loss)
        return Trained(members[findings.index(chosen)].student.eval(), chosen.loss, flops, spent)

    def fleet(self) -> list[Entry]:
        """A separate student for every budget, each tuned on its own.

        Raises:
            SearchError: see :meth:`fit`.
        """
        fitted = (self.fit(self.width(each), stage) for stage, each in enumerate(self.budgets, 1))
        return [entry for each in fitted for entry in self.averaged([each])]

    def loss(self, entry: Entry) -> float:
        """What selection looks at: the loss on validation."""
        return self.measure.loss(entry.validation, self.validation)

    def answers(self, student: Student, split: Examples) -> Tensor:
        """A student's logits on a split, float (N, L)."""
        return hidden_states(student, split.inputs, [])[0]

    def averaged(self, members: Sequence[Trained]) -> list[Entry]:
        """The average of the first member, the first two, and so on."""
        single = [
            Entry(
                flops=each.flops,
                validation=self.answers(each.student, self.validation),
                test=self.answers(each.student, self.test),
                parameters=parameters(each.student),
                trained=each.trained,
                streamed=each.flops,
            )
            for each in members
        ]
        students = ProgressiveEnsemble(self.outputs, [averaging(each.student) for each in members])
        return [
            dataclasses.replace(
                total,
                validation=total.validation / count,
                test=total.test / count,
                runs=prefix,
            )
            for count, (total, prefix) in enumerate(
                zip(itertools.accumulate(single, added), prefixes(students), strict=True), start=1
            )
        ]


def all_failed(findings: Sequence[Finding | SearchError]) -> SearchError:
    """What to raise where no candidate of a rival ended in numbers; the last failure tells why."""
    last = [each for each in findings if isinstance(each, SearchError)][-1]
    return SearchError(f"every candidate of a rival failed; the last one: {last}")


def findings_of(
    members: Sequence[Member], state: Round, seeds: Sequence[int]
) -> list[Finding | SearchError]:
    """Figures of candidates that train together where torch can stack them."""
    several = len(members) > 1 and not members[0].recipe.early_accept
    if several and vectorises(members[0].student, state):
        found = find_weak_learners(members, state, seed=seeds[0])
        assert found is not None  # nobody stops it
        return [each for each in found if not isinstance(each, Cut)]  # nobody cuts one
    return [alone(member, state, seed) for member, seed in zip(members, seeds, strict=True)]


def alone(member: Member, state: Round, seed: int) -> Finding | SearchError:
    """Figures of a candidate that trains by itself."""
    try:
        found = find_weak_learner(member.student, state, member.recipe, seed=seed)
    except SearchError as error:
        return error
    assert isinstance(found, Finding)  # nobody stops or cuts it
    return found


def averaging(student: Student) -> Student:
    """The same student, as one whose logits are averaged with those before it."""
    member = copy.copy(student)
    member.config = dataclasses.replace(student.config, skip=False)
    return member


def added(total: Entry, entry: Entry) -> Entry:
    """Costs and logits of both together."""
    sums = {name: getattr(total, name) + getattr(entry, name) for name in ADDED}
    return Entry(**sums)
