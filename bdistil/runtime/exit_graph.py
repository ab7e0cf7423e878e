"""Early exit inside one graph: the runtime itself finds out who is sure, in one call for all.

Where a stage takes microseconds, going back to Python between stages costs as much as a stage. The
graph takes a batch of one, as `If` of ONNX decides for a batch as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.runtime.exits import ExitPolicy
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_runner import INPUT
from bdistil.runtime.runner import Runner

TEMPERATURES, THRESHOLDS, WEIGHTS = "temperatures", "thresholds", "weights"
STAGE = "stage"

WEIGHTS_OF = {"confidence": (1.0, 0.0), "margin": (1.0, -1.0)}
"""The scores that the graph knows, as weights of the two largest probabilities."""

Feed = Mapping[str, NDArray[np.float32]]
Call = Callable[[Feed], list[NDArray[Any]]]


@dataclass(frozen=True)
class ExitGraph:
    """The graph of an ensemble.

    Attributes:
        call: gives for the graph's inputs the logits, (1, L), and the stage that they are from.
        temperatures: of the stages but the last, after which nobody looks.
    """

    call: Call
    temperatures: tuple[float, ...]

    def knows(self, score: str) -> bool:
        """Whether it can leave by a score."""
        return score in WEIGHTS_OF

    def until_sure(
        self, x: NDArray[np.float32], policy: ExitPolicy
    ) -> tuple[NDArray[np.float32], int]:
        """Logits (1, L) of a raw batch of one, and the stage at which it left by a policy."""
        logits, stage = self.call({INPUT: x, **policy_feed(policy, self.temperatures)})
        return logits, int(stage[0])

    def leave_at(self, x: NDArray[np.float32], stage: int) -> NDArray[np.float32]:
        """F_stage, float32 (1, L), of a raw batch of one that looks whether to leave until then."""
        logits: NDArray[np.float32] = self.call(
            {INPUT: x, **_feed_until(stage, self.temperatures)}
        )[0]
        return logits


def exit_graph_of(runner: Runner, manifest: Manifest) -> ExitGraph | None:
    """The graph that a backend has for an ensemble, if any.

    A runner that can have one has a method ``exit_graph()``, which gives its call or None.
    """
    call: Call | None = getattr(runner, "exit_graph", lambda: None)()
    return None if call is None else ExitGraph(call, manifest.temperatures[:-1])


@lru_cache(maxsize=64)
def policy_feed(policy: ExitPolicy, temperatures: tuple[float, ...]) -> Feed:
    """What the graph reads beside the example, (stages - 1,) and (2, 1)."""
    with np.errstate(over="ignore"):  # infinite in float32, and as far away
        threshold = np.float32(policy.threshold)
    return {
        TEMPERATURES: np.array(temperatures, np.float32),
        THRESHOLDS: np.full(len(temperatures), threshold),
        WEIGHTS: np.array(WEIGHTS_OF[policy.score], np.float32)[:, None],
    }


@lru_cache(maxsize=64)
def _feed_until(stage: int, temperatures: tuple[float, ...]) -> Feed:
    """Likewise to leave at a stage, whatever it answers."""
    feed = policy_feed(ExitPolicy("confidence", -np.inf), temperatures)
    thresholds = np.where(np.arange(1, len(temperatures) + 1) < stage, np.inf, -np.inf)
    return {**feed, THRESHOLDS: thresholds.astype(np.float32)}
