"""Sequences step by step by onnxruntime, with the graphs that the export wrote for streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS, NEXT = "x", "next_"  # the input; what is carried has this before its name as an output


def stream_file(stage: int) -> str:
    """Name of the graph that takes steps of sequences and gives F_1 to F_stage so far."""
    return f"stream_{stage}.onnx"


class OnnxSteps:
    """Some sequences on their way, all at the same step.

    Args:
        session: gives the session of this process, of a graph from ``x`` (B, time, inputs) and what
            is carried to ``logits_1``, ``logits_2``, ... and what is carried on. If it takes one
            step a call, time is 1.
    """

    def __init__(self, session: Callable[[], Any]) -> None:
        self.session = session  # not itself, which cannot be copied to where a stream goes on
        inputs = {each.name: each.shape for each in session().get_inputs()}
        time = inputs.pop(STEPS)[1]
        self.at_once: int | None = time if isinstance(time, int) else None
        self.shapes = {name: shape[1:] for name, shape in inputs.items()}
        self.carried = [NEXT + name for name in self.shapes]
        every = [each.name for each in session().get_outputs()]
        self.answers = [name for name in every if name not in self.carried]
        self.state: dict[str, NDArray[np.float32]] = {}

    def push(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """F_1, F_2, ..., float32 (B, L), after more raw steps (B, time, inputs), at least one."""
        state = self.state or {
            name: np.zeros((len(x), *shape), np.float32) for name, shape in self.shapes.items()
        }
        size = self.at_once or x.shape[1]
        found: list[NDArray[np.float32]] = []
        session = self.session()
        for start in range(0, x.shape[1], size):
            feed = {STEPS: x[:, start : start + size], **state}
            found = session.run([*self.carried, *self.answers], feed)
            state = dict(zip(self.shapes, found, strict=False))
        self.state = state
        return found[len(self.shapes) :]
