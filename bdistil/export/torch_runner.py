"""An ensemble run by torch."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bdistil.core.connections import Hidden
from bdistil.core.progressive_ensemble import step, take
from bdistil.errors import SpecError
from bdistil.export.ensemble import Ensemble
from bdistil.export.streaming import StreamGraph, can_stream
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.runner import Progress


def open_torch(folder: Path, manifest: Manifest, threads: int) -> TorchRunner:
    """The weights of a saved ensemble."""
    return TorchRunner(Ensemble.from_pretrained(folder), threads)


class TorchState(NamedTuple):
    """Standardised inputs (B, ...), F (B, L) and the hidden state of each student so far."""

    inputs: Tensor
    logits: Tensor
    earlier: list[Hidden]


class TorchRunner:
    """Runs an :class:`Ensemble` on its device.

    Args:
        ensemble: in evaluation mode.
        threads: bodies that run at the same time when a stage is gone to straight.
    """

    def __init__(self, ensemble: Ensemble, threads: int = 1) -> None:
        self.ensemble = ensemble
        self.students = list(ensemble)
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Without threads, which each process starts for itself."""
        return self.__dict__ | {"_pool": None}

    @property
    def pool(self) -> ThreadPoolExecutor | None:
        """Threads of this process; None if one is enough."""
        if self.threads > 1 and (self._pool is None or self._process != os.getpid()):
            self._pool, self._process = ThreadPoolExecutor(self.threads), os.getpid()
        return self._pool

    @torch.inference_mode()
    def begin(self, x: NDArray[np.float32]) -> Progress:
        """A batch of raw examples (B, ...) before the first stage."""
        inputs = self._standardised(x)
        logits = inputs.new_zeros(len(inputs), self.ensemble.outputs)
        return Progress(0, as_numpy(logits), TorchState(inputs, logits, []))

    def _standardised(self, x: NDArray[np.float32]) -> Tensor:
        return self.ensemble.standardise(as_tensor(x, self.ensemble.shift.device))

    @torch.inference_mode()
    def advance(self, progress: Progress) -> Progress:
        """One stage further; no student runs twice."""
        inputs, previous, earlier = progress.state
        stage = progress.stage + 1
        logits, hidden = step(self.students[progress.stage], inputs, earlier, previous, stage)
        return Progress(stage, as_numpy(logits), TorchState(inputs, logits, [*earlier, hidden]))

    @torch.inference_mode()
    def take(self, progress: Progress, rows: NDArray[np.intp]) -> Progress:
        """Some rows of a batch, to go on with these alone."""
        state: TorchState = progress.state
        index = torch.as_tensor(rows, device=state.inputs.device)
        earlier = [take(hidden, index) for hidden in state.earlier]
        kept = TorchState(state.inputs[index], state.logits[index], earlier)
        return Progress(progress.stage, progress.logits[rows], kept)

    @torch.inference_mode()
    def straight(self, x: NDArray[np.float32], stage: int) -> NDArray[np.float32]:
        """F_stage, float32 (B, L), without answers on the way (folded heads)."""
        pool = self.pool
        if pool is None:
            return as_numpy(self.ensemble(as_tensor(x, self.ensemble.shift.device), stage))
        inputs, prefix = self._standardised(x), self.ensemble.prefix(stage)
        guarded = torch.inference_mode()  # of the calling thread alone otherwise
        bodies = pool.map(guarded(lambda body: body(inputs)), prefix.bodies)
        return as_numpy(prefix.joined(list(bodies)))

    def steps(self, stages: int) -> TorchSteps:
        """Begin with sequences that come step by step.

        Raises:
            SpecError: if the standardisation depends on the step.
        """
        if not can_stream(self.ensemble):
            raise SpecError("the standardisation depends on the step; give whole sequences.")
        return TorchSteps(StreamGraph(self.ensemble, stages).eval())


class TorchSteps:
    """Some sequences on their way, all at the same step.

    Args:
        graph: what takes steps and what is carried.
    """

    def __init__(self, graph: StreamGraph) -> None:
        self.graph = graph
        self.state: tuple[Tensor, ...] = ()

    @torch.inference_mode()
    def push(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """F_1, F_2, ..., float32 (B, L), after more raw steps (B, time, inputs), at least one."""
        raw = as_tensor(x, self.graph.shift.device)
        found = self.graph(raw, *(self.state or self.graph.start(len(x))))
        answers = len(self.graph.logits)
        self.state = found[answers:]
        return [as_numpy(each) for each in found[:answers]]


def as_tensor(x: NDArray[np.float32], device: torch.device) -> Tensor:
    """The same values; the same memory where it is the CPU's and torch can take the array.

    It takes no array that goes backwards, and warns of one that must not be written to.
    """
    if not x.flags.writeable or any(stride < 0 for stride in x.strides):
        x = x.copy()
    return torch.as_tensor(x, device=device)


def as_numpy(tensor: Tensor) -> NDArray[np.float32]:
    """The same values; the same memory where it is the CPU's."""
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
