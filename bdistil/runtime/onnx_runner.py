"""An ensemble run by onnxruntime, from the graphs that the export wrote; needs no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import CheckpointError, SpecError
from bdistil.optional import require
from bdistil.runtime.hashes import HASHES_FILE, read_checked
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_file import fault_of
from bdistil.runtime.onnx_steps import OnnxSteps, stream_file
from bdistil.runtime.runner import Progress

INPUT, LOGITS = "x", "logits"
ALL_STAGES_FILE = "model.onnx"
EXITS_FILE = "exits.onnx"
CONFIG_KEY = "bdistil.config"  # of the metadata of that file
ONNX_FOLDER, INT8_FOLDER = "onnx", "onnx-int8"  # in the folder of a saved ensemble


def stage_file(stage: int) -> str:
    """Name of the graph that goes from one stage to the next."""
    return f"stage_{stage}.onnx"


def prefix_file(stage: int) -> str:
    """Name of the graph that goes straight to a stage."""
    return f"prefix_{stage}.onnx"


def open_onnx(folder: Path, manifest: Manifest, threads: int) -> OnnxRunner:
    """The graphs of a saved ensemble."""
    return OnnxRunner(folder / ONNX_FOLDER, manifest.outputs, threads, manifest.weights_hash)


def open_int8(folder: Path, manifest: Manifest, threads: int) -> OnnxRunner:
    """The graphs with 8-bit weights of a saved ensemble.

    Raises:
        CheckpointError: if there are none, which an export tells that was not worth it.
    """
    if not (folder / INT8_FOLDER).is_dir():
        raise CheckpointError(
            f"{folder} has no graphs in 8 bits, which `bdistil export --int8` keeps where they are "
            "worth it, and --int8-anyway in any case; export it anew, or choose another backend."
        )
    return OnnxRunner(folder / INT8_FOLDER, manifest.outputs, threads, manifest.weights_hash)


class Graph(NamedTuple):
    """An open graph, and the names that each call needs.

    Attributes:
        session: of onnxruntime.
        inputs: in any order.
        outputs: in the graph's order.
        kept_as: what each output is to the next stage.
    """

    session: Any
    inputs: list[str]
    outputs: list[str]
    kept_as: list[str]

    @classmethod
    def of(cls, session: Any) -> Graph:
        """Asks the session for the names, once."""
        inputs = [each.name for each in session.get_inputs()]
        outputs = [each.name for each in session.get_outputs()]
        return cls(session, inputs, outputs, [name.removeprefix("next_") for name in outputs])


class OnnxRunner:
    """Runs the graphs of a folder; each is loaded when it is first needed.

    Args:
        directory: the folder with ``stage_1.onnx``, ``prefix_1.onnx``, ...
        outputs: L.
        threads: branches of a graph that run at the same time.
        weights: hash of the ensemble's weights, which the graphs must be made of; empty if unknown.

    Raises:
        MissingDependencyError: if onnxruntime is not installed.
    """

    def __init__(self, directory: Path, outputs: int, threads: int = 1, weights: str = "") -> None:
        self.directory = directory
        self.outputs = outputs
        self.threads = threads
        self.weights = weights
        self._opened = self._hashes()
        self._graphs: dict[str, Graph] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Without sessions, which each process opens for itself."""
        return self.__dict__ | {"_graphs": {}}

    def load(self, stages: int) -> None:
        """Open the graphs from stage to stage and straight to the last, before they are needed."""
        for name in (*map(stage_file, range(1, stages + 1)), prefix_file(stages)):
            self._graph(name)

    def open(self, name: str) -> None:
        """Open one graph before it is needed.

        Raises:
            CheckpointError: if it is missing or damaged.
        """
        self._graph(name)

    def inputs_of(self, name: str) -> list[str]:
        """What a graph reads, by the names of a progress's state."""
        return self._graph(name).inputs

    def begin(self, x: NDArray[np.float32]) -> Progress:
        """A batch of raw examples (B, ...) before the first stage."""
        logits = np.zeros((len(x), self.outputs), np.float32)
        return Progress(0, logits, {INPUT: np.ascontiguousarray(x, np.float32), LOGITS: logits})

    def advance(self, progress: Progress) -> Progress:
        """One stage further; no student runs twice."""
        graph = self._graph(stage_file(progress.stage + 1))
        wanted = {name: progress.state[name] for name in graph.inputs}
        results = graph.session.run(graph.outputs, wanted)
        state = progress.state | dict(zip(graph.kept_as, results, strict=True))
        return Progress(progress.stage + 1, state[LOGITS], state)

    def take(self, progress: Progress, rows: NDArray[np.intp]) -> Progress:
        """Some rows of a batch, to go on with these alone."""
        state = {name: value[rows] for name, value in progress.state.items()}
        return Progress(progress.stage, state[LOGITS], state)

    def straight(self, x: NDArray[np.float32], stage: int) -> NDArray[np.float32]:
        """F_stage, float32 (B, L), without answers on the way (folded heads)."""
        return self.run_graph(prefix_file(stage), x)

    def every_stage(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """F_1, F_2, ... at once, float32 (B, stages, L)."""
        return self.run_graph(ALL_STAGES_FILE, x)

    def exit_graph(self) -> Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]] | None:
        """What leaves early within one call; None if the folder has no graph for it."""
        return self._leave if (self.directory / EXITS_FILE).is_file() else None

    def _leave(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        graph = self._graph(EXITS_FILE)
        results: list[NDArray[Any]] = graph.session.run(graph.outputs, feed)
        return results

    def steps(self, stages: int) -> OnnxSteps:
        """Begin with sequences that come step by step.

        Raises:
            SpecError: if the folder has no graphs for streams.
        """
        name = stream_file(stages)
        if not (self.directory / name).is_file():
            raise SpecError(
                f"{self.directory} has no {name}, so it cannot go step by step; export it anew "
                "with --onnx (in 8 bits there is none), or choose backend='torch'."
            )
        return OnnxSteps(partial(self._session, name))

    def _session(self, name: str) -> Any:
        return self._graph(name).session

    def run_graph(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """What one graph of the folder, from raw features to logits, gives for a batch."""
        graph = self._graph(name)
        logits: NDArray[np.float32] = graph.session.run(graph.outputs, {graph.inputs[0]: x})[0]
        return logits

    def graph(self, name: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """One graph of the folder as a function, see :meth:`run_graph`."""
        return partial(self.run_graph, name)

    def _graph(self, name: str) -> Graph:
        if self._process != os.getpid():  # a fork has the sessions, but not their threads
            self._graphs, self._process = {}, os.getpid()
        if name not in self._graphs:
            self._graphs[name] = Graph.of(self._load(self.directory / name))
        return self._graphs[name]

    def _hashes(self) -> bytes:
        """By which it shows that the folder holds another export than when this was opened."""
        try:
            return (self.directory / HASHES_FILE).read_bytes()
        except OSError:
            return b""

    def _read(self, path: Path) -> bytes:
        try:
            return read_checked(path, self.weights)
        except CheckpointError:
            if self._hashes() == self._opened:
                raise
            raise CheckpointError(
                f"{self.directory} was replaced or removed since this ensemble was opened, before "
                f"{path.name} was read; open it again (warm_up() reads all graphs at once)."
            ) from None

    def _load(self, path: Path) -> Any:
        content, runtime = self._read(path), require("onnxruntime", "")
        if fault := fault_of(content):
            raise CheckpointError(f"{path} is damaged: {fault}.")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = self.threads
        if self.threads > 1:
            options.execution_mode = runtime.ExecutionMode.ORT_PARALLEL
        try:
            return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own kinds, one for each fault
            detail = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{path} is damaged: {detail}.") from None
