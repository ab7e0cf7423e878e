"""Seconds of a call: all models of a comparison by turns, in one process of one thread."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from models import Model, open_session
from numpy.typing import NDArray

SHORTEST = 0.002  # seconds of one reading
SECONDS = 10.0  # for all of a comparison's readings of one batch size


def seconds_of(
    models: list[Model], folder: Path, x: NDArray[np.float32], batch: int
) -> dict[str, float]:
    """Median seconds of one call of each model, examples changing from call to call.

    A reading is so many calls as take at least SHORTEST; models are read in a new random order in
    each turn, so that whatever else the machine does meets all of them.
    """
    calls = {each.name: call_of(each, folder, x, batch) for each in models}
    numbers = {name: calls_for(call) for name, call in calls.items()}
    readings: dict[str, list[float]] = {name: [] for name in calls}
    until, order = time.monotonic() + SECONDS, random.Random(0)
    while time.monotonic() < until or len(readings[models[0].name]) < 5:
        for name in order.sample(list(calls), len(calls)):
            began = time.perf_counter()
            for _ in range(numbers[name]):
                calls[name]()
            readings[name].append((time.perf_counter() - began) / numbers[name])
    return {name: statistics.median(found) for name, found in readings.items()}


def call_of(model: Model, folder: Path, x: NDArray[np.float32], batch: int) -> Callable[[], object]:
    """A call on the next examples."""
    session: Any = open_session(folder / model.file)
    name, outputs = session.get_inputs()[0].name, [model.output]
    order = np.random.default_rng(0).permutation(len(x))
    rows = [np.ascontiguousarray(x[order[at : at + batch]]) for at in range(0, 64 * batch, batch)]
    rows = [each for each in rows if len(each) == batch]
    place = 0

    def call() -> object:
        nonlocal place
        place = (place + 1) % len(rows)
        return session.run(outputs, {name: rows[place]})

    return call


def calls_for(call: Callable[[], object]) -> int:
    """How many calls make a reading."""
    call()
    number = 1
    while True:
        began = time.perf_counter()
        for _ in range(number):
            call()
        if time.perf_counter() - began > SHORTEST:
            return number
        number *= 2
