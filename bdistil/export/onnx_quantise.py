"""ONNX graphs in 8 bits, with scales fixed on examples, kept where accuracy and time are worth it.

Scales that follow the batch at hand (onnxruntime's "dynamic" quantisation) would let one example
change the answers to the others.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import CheckpointError
from bdistil.optional import require
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.runtime.onnx_runner import INPUT, OnnxRunner, stage_file
from bdistil.runtime.runner import Runner
from bdistil.store.durable import replacing_files, write_atomic

PRODUCTS = ["Conv", "Gemm", "MatMul"]  # between them numbers stay float32
CALIBRATED_ON = 512  # examples
BATCH = 64
MOST_LOST = 0.005
"""Of accuracy (micro F1, R²) at the last stage, beyond which 8 bits are not worth it."""
CALLS = 50  # that are timed

Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Worth:
    """What 8 bits cost and gain.

    Attributes:
        full: accuracy (micro F1, R²) of each stage with float32.
        int8: the same with 8 bits.
        seconds: of one example straight to the last stage, with float32 and with 8 bits.
    """

    full: Sequence[float]
    int8: Sequence[float]
    seconds: tuple[float, float]

    @property
    def fault(self) -> str | None:
        """Why they are not worth it, in words; None if they are."""
        lost = self.full[-1] - self.int8[-1]
        if lost > MOST_LOST:
            return f"they lose {lost:.4f} at the last stage, more than {MOST_LOST}"
        if self.seconds[1] >= self.seconds[0]:
            return "they are no faster here"
        return None


def quantise_onnx(graphs: Path, directory: Path, examples: NDArray[np.float32]) -> None:
    """Write the int8 counterpart of every graph: convolutions and products in 8 bits.

    Recurrent operators stay as they are.

    Args:
        graphs: a folder that :func:`~bdistil.export.onnx_export.export_onnx` wrote.
        directory: for the counterparts, of the same names.
        examples: raw features (N, ...) on which the activations' scales are fixed.

    Raises:
        MissingDependencyError: if onnx or onnxruntime is not installed.
        CheckpointError: if `graphs` holds none, or the disk is full.
    """
    onnx = require("onnx", "onnx")
    quantization = require("onnxruntime.quantization", "onnx")
    files = sorted(graphs.glob("*.onnx"))
    if not files:
        raise CheckpointError(f"{graphs} holds no ONNX graphs; export them first.")
    made_of = json.loads((graphs / HASHES_FILE).read_text(encoding="utf-8"))["weights"]
    feeds = feeds_of(graphs, files, examples[:CALIBRATED_ON])
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises preprocessing that the exporter has done
    try:
        with replacing_files(directory, HASHES_FILE) as aside:
            for file in files:
                model = onnx.load(file)
                model.graph.ClearField("value_info")  # some shapes date from before optimisation
                own = iter(feeds.get(file.name, feeds[INPUT]))
                quantization.quantize_static(
                    model,
                    aside / file.name,
                    reader_of(own),
                    quant_format=quantization.QuantFormat.QDQ,
                    per_channel=True,
                    op_types_to_quantize=PRODUCTS,
                )
            write_atomic(aside / HASHES_FILE, describe_files(aside, made_of))
    finally:
        logging.root.setLevel(level)


def feeds_of(
    graphs: Path, files: Sequence[Path], examples: NDArray[np.float32]
) -> dict[str, list[Feed]]:
    """What each graph from stage to stage gets for some examples, and, by `x`, all others."""
    feeds: dict[str, list[Feed]] = {INPUT: []}
    stages = sum(file.name.startswith("stage_") for file in files)
    runner = OnnxRunner(graphs, outputs_of(graphs))
    for start in range(0, len(examples), BATCH):
        progress = runner.begin(examples[start : start + BATCH])
        feeds[INPUT].append({INPUT: progress.state[INPUT]})
        for stage in range(1, stages + 1):
            name = stage_file(stage)
            feeds.setdefault(name, []).append(
                {key: progress.state[key] for key in runner.inputs_of(name)}
            )
            progress = runner.advance(progress)
    return feeds


def outputs_of(graphs: Path) -> int:
    """L, of the logits that the first graph gives."""
    model = require("onnx", "onnx").load(graphs / stage_file(1))
    (shape,) = [each.type.tensor_type.shape for each in model.graph.output if _is_logits(each.name)]
    return int(shape.dim[1].dim_value)


def _is_logits(name: str) -> bool:
    return name.removeprefix("next_") == "logits"


def reader_of(feeds: Iterator[Feed]) -> Any:
    """The feeds as onnxruntime's calibration wants them."""
    reader = require("onnxruntime.quantization", "onnx").CalibrationDataReader
    return type("Feeds", (reader,), {"get_next": lambda _: next(feeds, None)})()


def keep_if_worth(worth: Worth, directory: Path, insisted: bool) -> str:
    """Remove 8-bit graphs that are not worth it, unless they are insisted on; what became of them.

    Args:
        worth: what they cost and gain.
        directory: where they are.
        insisted: whether they stay in any case.
    """
    if worth.fault is None:
        return "kept"
    if insisted:
        return f"kept in spite of it: {worth.fault}"
    shutil.rmtree(directory)
    return f"not kept: {worth.fault}; --int8-anyway keeps them"


def seconds_straight(
    runners: Sequence[Runner], example: NDArray[np.float32], stage: int
) -> list[float]:
    """Median seconds of one example straight to a stage, of runners that take turns."""
    taken: list[list[float]] = [[] for _ in runners]
    for _ in range(CALLS):
        for runner, own in zip(runners, taken, strict=True):
            began = perf_counter()
            runner.straight(example, stage)
            own.append(perf_counter() - began)
    return [median(own) for own in taken]
