"""ONNX graphs with 8-bit weights, by onnxruntime's dynamic quantisation."""

from __future__ import annotations

import logging
from pathlib import Path

from bdistil.errors import CheckpointError
from bdistil.optional import require
from bdistil.store.durable import disk_errors


def quantise_onnx(graphs: Path, directory: Path) -> None:
    """Write the int8 counterpart of every graph; activations are quantised as they come.

    Args:
        graphs: a folder that :func:`~bdistil.export.onnx_export.export_onnx` wrote.
        directory: for the counterparts, of the same names.

    Raises:
        MissingDependencyError: if onnx or onnxruntime is not installed.
        CheckpointError: if `graphs` holds none, or the disk is full.
    """
    onnx = require("onnx", "onnx")
    quantization = require("onnxruntime.quantization", "onnx")
    files = sorted(graphs.glob("*.onnx"))
    if not files:
        raise CheckpointError(f"{graphs} holds no ONNX graphs; export them first.")
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises preprocessing that the exporter has done
    try:
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for file in files:
                model = onnx.load(file)
                model.graph.ClearField("value_info")  # some shapes date from before optimisation
                quantization.quantize_dynamic(model, directory / file.name)
    finally:
        logging.root.setLevel(level)
