"""Candidates a second on one CPU thread: a cohort trained together against one by one.

Both sides run the recipe's whole schedule and the judging, on the same data and batches, in turns;
the ratio is the median of neighbouring turns, in CPU seconds, so that other processes disturb it
little. An MLP 64-16-10 and a small CNN on 8 x 8 images in the first round, and the MLP in the third
one, with dense connections and the weak-learning term. Also printed: the largest difference of
logits between the two sides. Needs no Ray; benchmarks/gpu.py measures a GPU.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time

import torch

from bdistil.core.cohort import Member, find_weak_learners
from bdistil.core.examples import Examples, Measure
from bdistil.core.find_weak_learner import find_weak_learner
from bdistil.core.game import Rules
from bdistil.core.recipes import Recipe, recipe
from bdistil.core.round import Round
from bdistil.core.student import StudentConfig
from bdistil.core.training_split import TrainingSplit
from bdistil.export.checkpoint import build_student

SHAPE, OUTPUTS, EXAMPLES = (1, 8, 8), 10, 1024
TURNS, ALONE = 3, 4


def first_round(examples: int = EXAMPLES) -> Round:
    """Random images with a linear teacher."""
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, OUTPUTS))

    def part(count: int) -> Examples:
        x = torch.randn(count, *SHAPE)
        logits = teacher(x).detach() * 4
        logits -= logits.mean(dim=1, keepdim=True)
        return Examples.before_round_one(x, logits, logits.argmax(dim=1))

    rules = Rules(0.1, "joint", bound=1.0, scale=1.0)
    train = TrainingSplit.before_round_one([part(examples)], rules)
    return Round.of(train, part(examples // 4), Measure("classification", 0.6))


def members(
    kind: str, width: int, count: int, settings: Recipe, earlier: tuple[int, ...] = ()
) -> list[Member]:
    """Candidates that differ in weights, learning rate and γ."""
    config = StudentConfig(kind, width, settings.connection, settings.skip)
    found = []
    for index in range(count):
        torch.manual_seed(index)
        student = build_student(config, SHAPE, OUTPUTS, earlier)
        own = dataclasses.replace(settings, lr=0.01 + 0.02 * index / count, gamma=3.0 + index)
        found.append(Member(student, own))
    return found


def next_round(state: Round, member: Member) -> Round:
    """The round after a candidate was trained and accepted."""
    find_weak_learner(member.student, state, member.recipe, seed=7)
    train = state.train.played(member.student)
    return Round.of(train, state.validation.joined(member.student), state.measure)


def seconds(crowd: list[Member], state: Round, together: bool) -> float:
    """CPU seconds a candidate."""
    started = time.process_time()
    if together:
        find_weak_learners(crowd, state, seed=7)
    else:
        for member in crowd:
            find_weak_learner(member.student, state, member.recipe, seed=7)
    return (time.process_time() - started) / len(crowd)


def largest_difference(ours: list[Member], theirs: list[Member], state: Round) -> float:
    x, earlier = state.validation.inputs, state.validation.earlier
    pairs = zip(ours, theirs, strict=False)
    with torch.no_grad():
        gaps = [a.student(x, earlier)[0] - b.student(x, earlier)[0] for a, b in pairs]
    return max(gap.abs().max().item() for gap in gaps)


def measure(name: str, kind: str, width: int, state: Round, settings: Recipe) -> dict[str, float]:
    earlier = tuple(hidden.features.shape[1] for hidden in state.validation.earlier)
    seconds(members(kind, width, 2, settings, earlier), state, together=True)  # warm-up
    figures: dict[str, float] = {}
    for count in (8, 32):
        ratios, rates, gap = [], [], 0.0
        for _ in range(TURNS):
            apart = members(kind, width, count, settings, earlier)[:ALONE]
            crowd = members(kind, width, count, settings, earlier)
            alone = seconds(apart, state, together=False)
            joint = seconds(crowd, state, together=True)
            ratios.append(alone / joint)
            rates.append((1 / joint, 1 / alone))
            gap = max(gap, largest_difference(crowd, apart, state))
        ratio = statistics.median(ratios)
        joint, alone = (statistics.median(side) for side in zip(*rates, strict=True))
        figures |= {f"{name}_{count}": ratio, f"{name}_{count}_difference": gap}
        print(
            f"{name:14s} {count:2d} together {joint:6.1f}/s, one by one {alone:5.1f}/s, "
            f"{ratio:5.2f} times; logits differ by {gap:.1e} at most"
        )
    return figures


def main() -> None:
    torch.set_num_threads(1)
    accurate = recipe("accurate")
    first = first_round()
    figures = measure("mlp", "mlp", 16, first, accurate)
    figures |= measure("cnn", "cnn", 4, first, accurate)
    third, earlier = first, ()
    for _ in range(2):
        third = next_round(third, *members("mlp", 16, 1, accurate, earlier))
        earlier = (*earlier, 16)
    figures |= measure("mlp_round_3", "mlp", 16, third, accurate)
    print(json.dumps({"ratio": figures["mlp_32"], **figures}))


if __name__ == "__main__":
    main()
