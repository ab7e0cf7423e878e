"""ONNX graphs in 8 bits, with scales fixed on examples.

Scales that follow the batch at hand (onnxruntime's "dynamic" quantisation) would let one example
change the answers to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import CheckpointError
from bdistil.export.nested_exits import write_exit_graph
from bdistil.optional import require
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_runner import (
    EXITS_FILE,
    INPUT,
    INT8_FOLDER,
    ONNX_FOLDER,
    open_onnx,
    stage_file,
)
from bdistil.runtime.onnx_steps import stream_file
from bdistil.store.durable import replacing_files, write_atomic

PRODUCTS = ["Conv", "Gemm", "MatMul"]  # between them numbers stay float32
CALIBRATED_ON = 512  # examples
BATCH = 64

Feed = Mapping[str, NDArray[Any]]


def quantise_onnx(folder: Path, examples: NDArray[np.float32]) -> None:
    """Write the int8 counterpart of every graph: convolutions and products in 8 bits.

    Recurrent operators stay as they are; there are no graphs for streams.

    Args:
        folder: of a saved ensemble with the graphs of
            :func:`~bdistil.export.onnx_export.export_onnx`; theirs get a folder beside them.
        examples: raw features (N, ...) on which the activations' scales are fixed.

    Raises:
        MissingDependencyError: if onnx or onnxruntime is not installed.
        CheckpointError: if there are no graphs, or the disk is full.
    """
    onnx = require("onnx", "onnx")
    quantization = require("onnxruntime.quantization", "onnx")
    manifest = Manifest.read(folder)
    left_out = {EXITS_FILE, *map(stream_file, range(1, manifest.stages + 1))}
    files = [f for f in sorted((folder / ONNX_FOLDER).glob("*.onnx")) if f.name not in left_out]
    if not files:
        raise CheckpointError(f"{folder} holds no ONNX graphs; export them first.")
    feeds = feeds_of(folder, manifest, examples[:CALIBRATED_ON])
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises preprocessing that the exporter has done
    try:
        with replacing_files(folder / INT8_FOLDER, HASHES_FILE) as aside:
            for file in files:
                model = onnx.load(file)
                model.graph.ClearField("value_info")  # some shapes date from before optimisation
                quantization.quantize_static(
                    model,
                    aside / file.name,
                    reader_of(feeds.get(file.name, feeds[INPUT])),
                    quant_format=quantization.QuantFormat.QDQ,
                    per_channel=True,
                    op_types_to_quantize=PRODUCTS,
                )
            write_exit_graph(aside, manifest)
            write_atomic(aside / HASHES_FILE, describe_files(aside, manifest.weights_hash))
    finally:
        logging.root.setLevel(level)


def feeds_of(
    folder: Path, manifest: Manifest, examples: NDArray[np.float32]
) -> dict[str, list[Feed]]:
    """What each graph from stage to stage gets for some examples, and, by `x`, all others."""
    feeds: dict[str, list[Feed]] = {INPUT: []}
    runner = open_onnx(folder, manifest, threads=1)
    for start in range(0, len(examples), BATCH):
        progress = runner.begin(examples[start : start + BATCH])
        feeds[INPUT].append({INPUT: progress.state[INPUT]})
        for name in map(stage_file, range(1, manifest.stages + 1)):
            own = {key: progress.state[key] for key in runner.inputs_of(name)}
            feeds.setdefault(name, []).append(own)
            progress = runner.advance(progress)
    return feeds


def reader_of(feeds: Sequence[Feed]) -> Any:
    """The feeds as onnxruntime's calibration wants them."""
    reader = require("onnxruntime.quantization", "onnx").CalibrationDataReader
    left = iter(feeds)
    return type("Feeds", (reader,), {"get_next": lambda _: next(left, None)})()
