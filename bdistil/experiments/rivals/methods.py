"""The rivals, each a function from a contest to its answers, cheapest first."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from bdistil.core.examples import Examples
from bdistil.core.find_weak_learner import Finding
from bdistil.core.seeds import derived_seed
from bdistil.errors import SearchError
from bdistil.experiments.design import IN_CASCADE
from bdistil.experiments.rivals.cascade import cascade
from bdistil.experiments.rivals.contest import Contest, Entry, Trained, all_failed
from bdistil.experiments.rivals.early_exit import early_exit, long_early_exit
from bdistil.experiments.rivals.nested import nested, nested_long
from bdistil.experiments.rivals.peer import PACKAGE, torchensemble
from bdistil.experiments.rivals.teacher_exits import teacher_exits, teacher_exits_reuse
from bdistil.experiments.rivals.width_nested import width_nested

Method = Callable[[Contest], list[Entry]]


def single(contest: Contest) -> list[Entry]:
    """One student by plain distillation, of the first stage's cost."""
    return contest.averaged([contest.fit(contest.width(contest.budgets[0]), 1)])


def oracle(contest: Contest) -> list[Entry]:
    """A separate student for every budget, each tuned on its own (NO-RESCHED)."""
    return contest.fleet()


def average(contest: Contest) -> list[Entry]:
    """The average of students that were distilled apart (RESCHED)."""
    widths = contest.widths()
    return contest.averaged([contest.fit(w, m) for m, w in enumerate(widths, start=1)])


def bagging(contest: Contest) -> list[Entry]:
    """The average of students of which each saw its own bootstrap sample."""
    members = []
    for member, width in enumerate(contest.widths(), start=1):
        generator = torch.Generator().manual_seed(derived_seed(contest.spec.seed, "bag", member))
        size = len(contest.train)
        rows = torch.randint(size, (size,), generator=generator)
        members.append(contest.fit(width, member, rows_of(contest.train, rows)))
    return contest.averaged(members)


def born_again(contest: Contest) -> list[Entry]:
    """The average of students of which each has the one before as its teacher."""
    members: list[Trained] = []
    examples: Examples | None = None
    for member, width in enumerate(contest.widths(), start=1):
        members.append(contest.fit(width, member, examples))
        taught = contest.answers(members[-1].student, contest.train)
        examples = dataclasses.replace(contest.train, teacher_logits=taught)
    return contest.averaged(members)


def snapshot(contest: Contest) -> list[Entry]:
    """The average of one student's states at the ends of the cycles of its learning rate.

    All cycles together last as long as one student's training, times the number of members.
    """
    width = contest.width(contest.budgets[0])
    flops = contest.cost(width)
    count = max(1, int(contest.budgets[-1] // flops))
    state = contest.state()
    seeds = contest.seeds(1)
    candidates = contest.members(width, 1, seeds)
    spent = flops * sum(float(each.recipe.epochs) for each in candidates)
    chains: list[list[Trained]] = [[] for _ in candidates]
    failed: list[Finding | SearchError] = []
    for cycle in range(count):
        findings = contest.findings(candidates, state, [seed + cycle for seed in seeds])
        failed += [finding for finding in findings if not isinstance(finding, Finding)]
        for chain, candidate, finding in zip(chains, candidates, findings, strict=True):
            if isinstance(finding, Finding):
                student = copy.deepcopy(candidate.student).eval()
                chain.append(Trained(student, finding.loss, flops, spent))
    whole = [contest.averaged(chain) for chain in chains if len(chain) == count]
    if not whole:
        raise all_failed(failed)
    return min(whole, key=lambda entries: contest.loss(entries[-1]))


def reweighted(contest: Contest) -> list[Entry]:
    """AdaBoost's way: each student sees more of what the weighted vote so far gets wrong (SAMME).

    Right is what the teacher answers. Weights become shares of a resampled training split.

    Raises:
        SearchError: if answers of the task are no single class.
    """
    if contest.task != "classification":
        raise SearchError(
            "a weighted vote is about which class is right, of which examples of this task "
            f"({contest.task}) have not one each; leave the method out."
        )
    weights = torch.full((len(contest.train),), 1 / len(contest.train), dtype=torch.float64)
    truth = contest.train.teacher_logits.argmax(dim=1)
    members: list[Trained] = []
    votes: list[float] = []
    for member, width in enumerate(contest.widths(), start=1):
        generator = torch.Generator().manual_seed(derived_seed(contest.spec.seed, "boost", member))
        rows = torch.multinomial(weights, len(weights), replacement=True, generator=generator)
        members.append(contest.fit(width, member, rows_of(contest.train, rows)))
        wrong = contest.answers(members[-1].student, contest.train).argmax(dim=1) != truth
        error = min(max(float((weights * wrong).sum()), 1e-6), 1 - 1e-6)
        chance = math.log(max(1, contest.outputs - 1))
        votes.append(max(1e-6, math.log((1 - error) / error) + chance))
        weights = weights * (wrong.double() * votes[-1]).exp()
        weights = weights / weights.sum()
    return voted(contest, members, votes)


def voted(contest: Contest, members: list[Trained], votes: list[float]) -> list[Entry]:
    """The weighted mean of the first member's probabilities, the first two's, and so on."""

    def mixed(split: Examples) -> list[Tensor]:
        total, mixtures = torch.zeros(len(split), contest.outputs), []
        for member, vote in zip(members, votes, strict=True):
            total = total + vote * contest.answers(member.student, split).softmax(dim=1)
            mixtures.append((total / total.sum(dim=1, keepdim=True)).clamp_min(1e-12).log())
        return mixtures

    parts = zip(
        contest.averaged(members), mixed(contest.validation), mixed(contest.test), strict=True
    )
    return [
        dataclasses.replace(entry, validation=validation, test=test, runs=None)
        for entry, validation, test in parts
    ]


def rows_of(examples: Examples, rows: Tensor) -> Examples:
    """Some rows of a split, in which some may stand several times."""
    labels = None if examples.labels is None else examples.labels[rows]
    weights = None if examples.weights is None else examples.weights[rows]
    return Examples.before_round_one(
        examples.inputs[rows], examples.teacher_logits[rows], labels, weights=weights
    )


RIVALS: dict[str, Method] = {
    "single": single,
    "oracle": oracle,
    "average": average,
    "bagging": bagging,
    "snapshot": snapshot,
    "born-again": born_again,
    "reweighted": reweighted,
    "nested": nested,
    "nested-long": nested_long,
    "width-nested": width_nested,
    "cascade": cascade,
    "teacher-exits": teacher_exits,
    "teacher-exits-reuse": teacher_exits_reuse,
    PACKAGE: torchensemble,
    "early-exit": early_exit,
    "early-exit-long": long_early_exit,
}
BY_NAME_ALONE = (
    "early-exit",
    "early-exit-long",
    "cascade",
    "teacher-exits",
    "teacher-exits-reuse",
)
"""Rivals that another has replaced, or that not every teacher or task has."""

OF_ONE_CLASS = ("reweighted", "cascade", IN_CASCADE)
"""Methods that take each example to have one class."""


def at_hand() -> list[str]:
    """Names of the rivals that are compared by default: those whose packages are installed."""
    named = BY_NAME_ALONE if find_spec(PACKAGE) is not None else (*BY_NAME_ALONE, PACKAGE)
    return [name for name in RIVALS if name not in named]
