"""ONNX graphs of an ensemble: from each stage to the next, straight to each stage, and to all."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.errors import CheckpointError
from bdistil.export.config import CONFIG
from bdistil.export.ensemble import Ensemble
from bdistil.export.fastest import fastest_way, random_inputs, ways_to
from bdistil.export.graphs import (
    BATCH,
    LARGEST_DIFFERENCE,
    PrefixGraph,
    StageGraph,
    any_batch,
    difference_of,
    stage_inputs,
)
from bdistil.export.nested_exits import write_exit_graph
from bdistil.export.streaming import StreamGraph, can_stream
from bdistil.export.torch_runner import TorchRunner
from bdistil.names import Stacking
from bdistil.optional import require
from bdistil.runtime.exit_graph import exit_graph_of
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.runtime.onnx_runner import (
    ALL_STAGES_FILE,
    CONFIG_KEY,
    INPUT,
    LOGITS,
    OnnxRunner,
    prefix_file,
    stage_file,
)
from bdistil.runtime.onnx_steps import NEXT, stream_file
from bdistil.runtime.runner import Runner
from bdistil.store.durable import replacing_files, write_atomic
from bdistil.store.scratch import ScratchFolder

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ONE_BY_ONE: tuple[Stacking, ...] = ("none", "aligned")
ALONE = 16  # examples that leave at each stage, to check the graph for early exits
STREAMED = 64  # examples that are gone through in two chunks, to check the graphs for streams


class OnnxExport(NamedTuple):
    """What was found while graphs were written.

    Attributes:
        difference: the largest one between onnxruntime's and torch's logits on the examples, see
            :func:`~bdistil.export.graphs.difference_of`.
        way: how bodies run in the graphs that go straight to a stage, the fastest here.
        step: likewise from stage to stage, ``none`` or ``aligned``.
        anew: student classes that a stream computes anew on all that was heard, as they carry no
            state; None where there are no streams.
    """

    difference: float
    way: Stacking
    step: Stacking
    anew: frozenset[str] | None = None


class FastestWays(NamedTuple):
    """How bodies run, as is the fastest here: straight to a stage, and from one to the next."""

    straight: Stacking
    step: Stacking


def export_onnx(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> OnnxExport:
    """Write the graphs and check them on real examples.

    ``stage_1.onnx``, ... go from one stage to the next, ``prefix_1.onnx``, ... straight to one,
    and ``model.onnx`` to all stages at once; it holds ``config.json`` among its metadata. Where the
    ensemble takes sequences, ``stream_1.onnx``, ... go on with some more of their steps.

    Args:
        ensemble: on the CPU.
        directory: for the files; graphs that are there already are replaced all together.
        examples: raw, float32 (N, ...), at least :data:`BATCH` of them.

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: if the disk is full, or the difference is above
            :data:`LARGEST_DIFFERENCE`; `directory` then is as it was.
    """
    with replacing_files(directory, HASHES_FILE) as aside:
        way, step = write_prefixes(ensemble, aside, examples)
        for stage, state in enumerate(stage_inputs(ensemble, examples[:BATCH]), start=1):
            graph = StageGraph(ensemble, stage, step)
            _write_graph(graph, state, graph.inputs, graph.outputs, aside / stage_file(stage))
        write_exit_graph(aside, ensemble.config)
        everything = ensemble.stack(range(1, len(ensemble) + 1), "apart" if way == "none" else way)
        config = CONFIG.dump_json(ensemble.config).decode()
        export_module(everything, examples, aside / ALL_STAGES_FILE, {CONFIG_KEY: config})
        difference, anew = _checked(ensemble, aside, examples), None
        if can_stream(ensemble):
            anew = export_streams(ensemble, aside)
            difference = max(difference, _checked_streams(ensemble, aside, examples[:STREAMED]))
        hashes = describe_files(aside, ensemble.weights_hash())
        write_atomic(aside / HASHES_FILE, hashes)
        written = {path.name for path in aside.iterdir()}
    for old in directory.glob("*.onnx"):
        if old.name not in written:  # a stage that there is no more
            old.unlink()
    return OnnxExport(difference, way, step, anew)


def check_packages() -> None:
    """See whether graphs can be written and run.

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ONNX_PACKAGES:
        require(package, "onnx")


def write_prefixes(ensemble: Ensemble, folder: Path, examples: NDArray[np.float32]) -> FastestWays:
    """Write ``prefix_1.onnx``, ... in the way that is the fastest here.

    Raises:
        MissingDependencyError: if onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: if the disk is full.
    """
    check_packages()
    ways = _fastest_ways(ensemble, examples)
    for stage in range(1, len(ensemble) + 1):
        one_by_one = ways.straight == "none"
        straight = PrefixGraph(ensemble, stage) if one_by_one else ensemble.stack(stage, ways[0])
        export_module(straight, examples, folder / prefix_file(stage))
    return ways


def export_module(
    module: nn.Module,
    examples: NDArray[np.float32],
    path: Path,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write any module from raw features, float32 (B, ...), to logits as one graph.

    Raises:
        MissingDependencyError: if onnx or onnxscript is not installed.
        CheckpointError: if the disk is full.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "onnx")
    inputs = [torch.as_tensor(examples[:BATCH])]
    _write_graph(module, inputs, (INPUT,), (LOGITS,), path, metadata)


def opened_ways(
    ways: Mapping[Stacking, nn.Module], examples: NDArray[np.float32], folder: Path, outputs: int
) -> dict[Stacking, Callable[[NDArray[np.float32]], NDArray[np.float32]]]:
    """Each way straight to a stage as ``WAY.onnx`` in a folder, run by onnxruntime.

    Args:
        ways: as :func:`~bdistil.export.fastest.ways_to` gives them.
        examples: raw, float32 (N, ...).
        folder: for the graphs, which are opened when they are first called.
        outputs: L.
    """
    for way, module in ways.items():
        export_module(module, examples, folder / f"{way}.onnx")
    runner = OnnxRunner(folder, outputs)
    return {way: runner.graph(f"{way}.onnx") for way in ways}


def _fastest_ways(ensemble: Ensemble, examples: NDArray[np.float32]) -> FastestWays:
    """Of going straight to the last stage, by onnxruntime, and of those that go one by one."""
    affine, shape = ensemble.affine, ensemble.config.input_shape
    ways = ways_to(ensemble, affine, shape, len(ensemble))
    with ScratchFolder("onnx") as folder:
        calls = opened_ways(ways, examples, folder, ensemble.outputs)
        inputs = [x.numpy() for x in random_inputs(affine, shape)]
        straight = fastest_way(calls, inputs)
        if straight in ONE_BY_ONE:
            return FastestWays(straight, straight)
        one_by_one = {way: call for way, call in calls.items() if way in ONE_BY_ONE}
        return FastestWays(straight, fastest_way(one_by_one, inputs))


def _write_graph(
    module: nn.Module,
    inputs: list[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str],
    path: Path,
    metadata: dict[str, str] | None = None,
    shapes: tuple[Any, ...] | None = None,
) -> None:
    with _quiet(), _loops_of_their_own():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=any_batch(inputs) if shapes is None else shapes,
            input_names=list(input_names),
            output_names=list(output_names),
            verbose=False,
        )
    assert program is not None  # as it is with dynamo
    model = program.model_proto
    _forget_origin(model)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    write_atomic(path, model.SerializeToString())


def export_streams(ensemble: Ensemble, directory: Path) -> frozenset[str]:
    """Write ``stream_1.onnx``, ...: steps (B, time, inputs) and what is carried, to F_1, ..., F_k.

    Raises:
        MissingDependencyError: if onnx or onnxscript is not installed.
        CheckpointError: if the disk is full.

    Returns:
        the student classes that are computed anew on all that was heard.
    """
    onnx, _ = (require(package, "onnx") for package in ("onnx", "onnxscript"))
    graphs = [StreamGraph(ensemble, stage) for stage in range(1, len(ensemble) + 1)]
    last, path = graphs[-1], directory / stream_file(len(ensemble))
    steps = torch.zeros(BATCH, 1 if last.one_by_one else 2, ensemble.config.input_shape[1])
    _write_graph(
        last,
        [steps, *last.start(BATCH)],
        [INPUT, *last.shapes],
        [*last.logits, *(NEXT + name for name in last.shapes)],
        path,
        shapes=last.any_size(),
    )
    every = onnx.utils.Extractor(onnx.load(path))
    for stage, graph in enumerate(graphs[:-1], start=1):
        outputs = [*graph.logits, *(NEXT + name for name in graph.shapes)]
        part = every.extract_model([INPUT, *graph.shapes], outputs)
        write_atomic(directory / stream_file(stage), part.SerializeToString())
    return frozenset(last.anew)


def _forget_origin(message: Any) -> None:
    """Leave out what the exporter notes of its source: stack traces with paths of this machine."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE and field.name != "initializer":
            for part in value if field.is_repeated else [value]:
                _forget_origin(part)


def _checked(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """The :func:`difference_of` both runners, the largest over all stages and all ways to them."""
    difference = 0.0
    graphs = OnnxRunner(directory, ensemble.outputs)
    runners: tuple[Runner, Runner] = (TorchRunner(ensemble), graphs)
    exits = exit_graph_of(graphs, ensemble.config)
    at_once = graphs.every_stage(examples)
    progress = [runner.begin(examples) for runner in runners]
    for stage in range(1, len(ensemble) + 1):
        progress = [r.advance(p) for r, p in zip(runners, progress, strict=True)]
        straight = [runner.straight(examples, stage) for runner in runners]
        exact, streamed = (p.logits for p in progress)
        for mine, other in ((exact, streamed), straight, (exact, at_once[:, stage - 1])):
            difference = max(difference, difference_of(other, mine))
        if exits is not None:
            mine = np.concatenate([exits.leave_at(row[None], stage) for row in examples[:ALONE]])
            difference = max(difference, difference_of(exact[:ALONE], mine))
    return _small_enough(difference)


def _checked_streams(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float:
    """The largest difference between the answers at the end of streams and torch's."""
    graphs, torches = OnnxRunner(directory, ensemble.outputs), TorchRunner(ensemble)
    difference = 0.0
    for stage in range(1, len(ensemble) + 1):
        steps = graphs.steps(stage)
        for chunk in np.array_split(examples, min(2, examples.shape[1]), axis=1):
            found = steps.push(chunk)
        whole = torches.straight(examples, stage)
        difference = max(difference, difference_of(found[-1], whole))
    return _small_enough(difference)


def _small_enough(difference: float) -> float:
    if not difference <= LARGEST_DIFFERENCE:
        raise CheckpointError(
            f"the ONNX graphs differ from torch by {difference:.2g} of a row's largest logit, more "
            f"than {LARGEST_DIFFERENCE:g}; please report this with the ensemble's config.json."
        )
    return difference


@contextlib.contextmanager
def _loops_of_their_own() -> Iterator[None]:
    """For an export the exporter lends recurrent layers loops that take any number of steps.

    Torch 2.14 remembers what it has found for a layer before, and so would not see them, or see
    them still afterwards.
    """
    layers = (torch.ops.aten.gru.input, torch.ops.aten.lstm.input)

    def forget() -> None:
        for layer in layers:
            layer._dispatch_cache.clear()

    forget()
    try:
        yield
    finally:
        forget()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs and warns about its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
