"""Does a sampler learn what later rounds are like? Regret of its proposals on a known response.

A made-up search: gains of round 1 are large and do not depend on γ; later ones are small, fall from
round to round, grow with the class, have noise, and are best at one learning rate, γ and
connection.
The regret of a trial is how far its expected gain lies below the best possible of its round, as a
share of what the dimensions are worth there; printed is the mean over rounds 4 to 8. Each side
proposes for the same rounds with the same seeds. Nothing is trained; a minute without arguments.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from typing import Any

import numpy as np

from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.searching.sampling import build_sampler
from bdistil.spec import load_spec

ROUNDS, TRIALS, CLASSES = 8, 8, 2
SPACE = {
    "ladder": [4, 8],
    "gamma": {"low": 1, "high": 100, "log": True},
    "lr": {"low": 0.002, "high": 0.1, "log": True},
    "connection": ["none", "residual", "dense"],
}
WORTH = {"none": 0.0, "residual": 0.5, "dense": 1.0}


def quality(params: dict[str, Any], round_number: int) -> float:
    """Between 0 and 1: how good values are in a round."""
    lr = math.exp(-((math.log(params["lr"] / 0.02) / 0.7) ** 2))
    if round_number == 1:
        return lr
    gamma = math.exp(-((math.log(params["gamma"] / 10) / 1.0) ** 2))
    return (lr + gamma + WORTH[params["connection"]]) / 3


def gain(params: dict[str, Any], round_number: int, rung: int) -> float:
    """The expected gain."""
    scale = 0.9 if round_number == 1 else 0.2 * 0.7 ** (round_number - 2)
    return scale * (0.6 + 0.1 * rung + 0.3 * quality(params, round_number))


def regret(algorithm: str, seed: int) -> float:
    """Of the proposals of rounds 4 to 8."""
    spec = load_spec(
        {
            "seed": seed,
            "data": {"name": "cube"},
            "space": SPACE,
            "search": {"algorithm": algorithm, "rounds": ROUNDS},
        }
    )
    history: list[TrialResult] = []
    sampler = build_sampler(spec, lambda: history)
    noise, regrets = np.random.default_rng(seed), []
    for round_number in range(1, ROUNDS + 1):
        sampler.open_round(round_number)
        told = []
        for number in range(TRIALS):
            rung = number * CLASSES // TRIALS
            params = sampler.ask(round_number, number)
            if round_number >= 4:
                regrets.append(1 - quality(params, round_number))
            value = gain(params, round_number, rung)
            value += noise.normal(scale=0.05 * value)
            request = TrialRequest(
                round=round_number, number=number, rung=rung, attempt=0, params=params, seed=0
            )
            result = TrialResult(request=request, status="finished", gain=value, edge=0.1)
            sampler.tell(result)
            told.append(result)
        history.extend(told)
    return statistics.mean(regrets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    means = {}
    print(f"regret in rounds 4 to {ROUNDS}, {TRIALS} trials a round, {seeds} seeds")
    for algorithm in ("random", "tpe"):
        found = [regret(algorithm, seed) for seed in range(seeds)]
        means[algorithm] = statistics.mean(found)
        error = statistics.stdev(found) / math.sqrt(seeds)
        print(f"  {algorithm:7s} {means[algorithm]:.3f} ± {error:.3f}", flush=True)
    print(json.dumps({"ratio": means["tpe"] / means["random"], **means}))


if __name__ == "__main__":
    main()
