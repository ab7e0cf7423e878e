"""Candidates a second: a cohort trained together against the same candidates one by one.

One thread, one run, both sides on the same data, schedule and batches; an MLP 64-16-10 and a small
CNN on 8 x 8 images. Also printed: the largest difference of logits between the two sides. With a
GPU it goes on to 32 and 128 students at once there. Needs no Ray.
"""

from __future__ import annotations

import dataclasses
import json
import time

import torch

from bdistil.core.cohort import Member, find_weak_learners
from bdistil.core.examples import Examples, Measure
from bdistil.core.find_weak_learner import Round, find_weak_learner
from bdistil.core.game import Rules
from bdistil.core.recipes import recipe
from bdistil.core.student import StudentConfig
from bdistil.core.training_split import TrainingSplit
from bdistil.deploy.checkpoint import build_student

SHAPE, OUTPUTS, EXAMPLES, EPOCHS = (1, 8, 8), 10, 1024, 10


def toy_round(device: str) -> Round:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, OUTPUTS))

    def part(count: int) -> Examples:
        x = torch.randn(count, *SHAPE, generator=generator)
        logits = teacher(x).detach() * 4
        logits -= logits.mean(dim=1, keepdim=True)
        return Examples.before_round_one(x, logits, logits.argmax(dim=1)).to(device)

    train = TrainingSplit.before_round_one(
        [part(EXAMPLES)], Rules(0.1, "joint", bound=1.0, scale=1.0)
    )
    return Round.of(train, part(256), Measure("classification", 0.6))


def members(kind: str, width: int, count: int, device: str) -> list[Member]:
    """Candidates that differ in weights, learning rate and γ."""
    settings = dataclasses.replace(recipe("accurate"), epochs=EPOCHS, connection="none")
    found = []
    for index in range(count):
        torch.manual_seed(index)
        student = build_student(StudentConfig(kind, width, "none", True), SHAPE, OUTPUTS, ())
        own = dataclasses.replace(settings, lr=0.01 + 0.02 * index / count, gamma=3.0 + index)
        found.append(Member(student.to(device), own))
    return found


def together(kind: str, width: int, count: int, state: Round, device: str) -> tuple[float, list]:
    crowd = members(kind, width, count, device)
    started = time.perf_counter()
    find_weak_learners(crowd, state, seed=7)
    return count / (time.perf_counter() - started), crowd


def one_by_one(kind: str, width: int, count: int, state: Round, device: str) -> tuple[float, list]:
    crowd = members(kind, width, count, device)
    started = time.perf_counter()
    for member in crowd:
        find_weak_learner(member.student, state, member.recipe, seed=7)
    return count / (time.perf_counter() - started), crowd


def largest_difference(ours: list[Member], theirs: list[Member], state: Round) -> float:
    x = state.validation.inputs
    pairs = zip(ours, theirs, strict=True)
    with torch.no_grad():
        gaps = [(a.student(x, [])[0] - b.student(x, [])[0]).abs().max() for a, b in pairs]
    return max(gap.item() for gap in gaps)


def main() -> None:
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for device in ["cpu"] + (["cuda"] if torch.cuda.is_available() else []):
        state = toy_round(device)
        for kind, width, sizes in (("mlp", 16, (8, 32)), ("cnn", 4, (8, 32))):
            together(kind, width, 2, state, device)  # warm-up of both sides
            one_by_one(kind, width, 2, state, device)
            alone, apart = one_by_one(kind, width, 8, state, device)
            for count in (*sizes, 128) if device == "cuda" else sizes:
                rate, crowd = together(kind, width, count, state, device)
                figures[f"{device}_{kind}_{count}"] = rate / alone
                print(
                    f"{device} {kind}-{width}: {count:3d} together {rate:7.1f}/s, "
                    f"one by one {alone:6.1f}/s, {rate / alone:5.1f} times"
                )
                if count == 8:
                    gap = largest_difference(crowd, apart, state)
                    figures[f"{device}_{kind}_difference"] = gap
                    print(f"  largest difference of logits {gap:.1e}")
    print(json.dumps({"ratio": figures["cpu_mlp_32"], **figures}))


if __name__ == "__main__":
    main()
