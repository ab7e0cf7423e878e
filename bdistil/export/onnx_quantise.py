"""ONNX graphs with 8-bit weights, by onnxruntime's dynamic quantisation."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from bdistil.errors import CheckpointError
from bdistil.optional import require
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.store.durable import replacing_files, write_atomic


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
    made_of = json.loads((graphs / HASHES_FILE).read_text(encoding="utf-8"))["weights"]
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises preprocessing that the exporter has done
    try:
        with replacing_files(directory, HASHES_FILE) as aside:
            for file in files:
                model = onnx.load(file)
                model.graph.ClearField("value_info")  # some shapes date from before optimisation
                quantization.quantize_dynamic(model, aside / file.name)
            write_atomic(aside / HASHES_FILE, describe_files(aside, made_of))
    finally:
        logging.root.setLevel(level)
