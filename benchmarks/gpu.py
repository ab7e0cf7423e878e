"""Candidates a second on a GPU: cohorts, bf16, torch.compile, and where the data lie.

Every variant trains the same candidates with the whole judging; the basis is one candidate after
another in fp32, uncompiled, on data that lie on the GPU. Also measured: whether an epoch makes the
host wait for the GPU, which it must do once, for the check of the loss. Without a GPU the same is
measured in seconds of one CPU thread, at a small size. Needs neither Ray nor Optuna.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
import warnings
from dataclasses import dataclass

import torch
from cohort import first_round, members

from bdistil.core.cohort import Member, find_weak_learners
from bdistil.core.examples import Examples
from bdistil.core.find_weak_learner import find_weak_learner
from bdistil.core.recipes import Recipe, recipe
from bdistil.core.round import Round
from bdistil.core.training_split import TrainingSplit


@dataclass(frozen=True)
class Size:
    """How much is measured: examples, epochs, and candidates one by one and together."""

    examples: int
    epochs: int
    batch: int
    alone: int
    together: tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """One way to train `count` candidates; a count of zero means one by one."""

    count: int = 0
    precision: str = "fp32"
    compiled: bool = False
    resident: bool = True

    def __str__(self) -> str:
        words = [f"{self.count} together" if self.count else "one by one", self.precision]
        words += ["compiled"] * self.compiled + ["data copied batch by batch"] * (not self.resident)
        return ", ".join(words)


GPU = Size(examples=32_768, epochs=4, batch=256, alone=4, together=(32, 128))
CPU = Size(examples=1024, epochs=4, batch=128, alone=4, together=(8, 32))
TURNS = 3
MODELS = {"mlp": 16, "cnn": 4}


def placed(state: Round, device: str) -> Round:
    """The first round with its data on a device."""

    def part(shard: Examples) -> Examples:
        return Examples.before_round_one(shard.inputs, shard.teacher_logits, shard.labels).to(
            device
        )

    train = TrainingSplit.before_round_one(
        [part(shard) for shard in state.train.shards], state.train.rules
    )
    return Round.of(train, state.validation.to(device), state.measure)


def train(crowd: list[Member], state: Round, variant: Variant) -> None:
    if variant.count:
        find_weak_learners(crowd, state, seed=7, compiled=variant.compiled)
        return
    for member in crowd:
        find_weak_learner(member.student, state, member.recipe, seed=7, compiled=variant.compiled)


def seconds(
    kind: str, settings: Recipe, state: Round, variant: Variant, alone: int, device: str
) -> float:
    """Seconds until `alone` candidates one by one, or a cohort, are trained and judged."""
    own = dataclasses.replace(settings, precision=variant.precision)
    crowd = members(kind, MODELS[kind], variant.count or alone, own)
    for member in crowd:
        member.student.to(device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    synchronise(device)
    started = clock()
    train(crowd, state, variant)
    synchronise(device)
    return clock() - started


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def waits(kind: str, settings: Recipe, state: Round) -> int:
    """How often the host waits for the GPU in a candidate's training and judging."""
    (member,) = members(kind, MODELS[kind], 1, settings)
    member.student.to("cuda")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train([member], state, Variant())
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def variants(size: Size, device: str) -> list[Variant]:
    few, many = size.together
    found = [
        Variant(),
        Variant(precision="bf16"),
        Variant(compiled=True),
        Variant(few),
        Variant(many),
        Variant(many, precision="bf16"),
        Variant(many, compiled=True),
    ]
    if device == "cuda":
        found += [Variant(resident=False), Variant(many, resident=False)]
    return found


def measure(kind: str, size: Size, device: str) -> dict[str, float]:
    settings = dataclasses.replace(
        recipe("accurate"), epochs=size.epochs, batch_size=size.batch, connection="none"
    )
    host = first_round(size.examples)
    places = {True: placed(host, device), False: host}
    brief = dataclasses.replace(settings, epochs=1)
    figures: dict[str, float] = {}
    basis = 0.0
    for variant in variants(size, device):
        state = places[variant.resident]
        started = time.perf_counter()
        seconds(kind, brief, state, variant, 1, device)  # start-up and compiling
        first = time.perf_counter() - started
        taken = statistics.median(
            seconds(kind, settings, state, variant, size.alone, device) for _ in range(TURNS)
        )
        rate = (variant.count or size.alone) / taken
        basis = basis or rate
        name = f"{kind}: {variant}"
        note = f"; first epoch {first:.1f} s" if variant.compiled else ""
        print(f"{name:55s} {rate:8.2f}/s {rate / basis:7.2f} times{note}", flush=True)
        figures[name] = rate
    if device == "cuda":
        once, twice = (
            waits(kind, dataclasses.replace(settings, epochs=n), places[True]) for n in (1, 2)
        )
        figures[f"{kind}: waits an epoch"] = twice - once
        print(
            f"{kind}: the host waits {twice - once} times an epoch of "
            f"{-(-size.examples // size.batch)} batches"
        )
    return figures


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    else:
        torch.set_num_threads(1)
        print("torch sees no GPU here: one CPU thread at a small size instead.")
    size = GPU if device == "cuda" else CPU
    figures: dict[str, float] = {}
    for kind in MODELS:
        figures |= measure(kind, size, device)
    many = str(Variant(size.together[-1]))
    ratio = figures[f"mlp: {many}"] / figures[f"mlp: {Variant()}"]
    print(json.dumps({"ratio": ratio, "device": device, **figures}))


if __name__ == "__main__":
    main()
