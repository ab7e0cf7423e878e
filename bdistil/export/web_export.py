"""A web page that runs an ensemble stage by stage in the browser, by onnxruntime-web.

The folder needs no server of its own kind: whatever serves files serves it, and nothing is asked
of any other host.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bdistil.errors import MissingDependencyError
from bdistil.runtime.config_file import CONFIG_FILE, read_config
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.store.durable import replacing_files, write_atomic

WEB_FOLDER = "web"  # in the folder of a saved ensemble
PACKAGE = "onnxruntime-web"
PAGE, SCRIPTS = "index.html", ("page.js", "stages.js", "columns.js", "sha256.js")
RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)


def find_runtime(given: Path | None = None) -> Path:
    """The folder with the files of the npm package onnxruntime-web.

    Args:
        given: the package or its folder ``dist``; None looks where npm installs, in
            ``node_modules`` of the working folder and of those above it.

    Raises:
        MissingDependencyError: if one of :data:`RUNTIME_FILES` is not there.
    """
    here = Path.cwd()
    places = [given] if given else [up / "node_modules" / PACKAGE for up in (here, *here.parents)]
    for place in places:
        for folder in (place, place / "dist"):
            if all((folder / name).is_file() for name in RUNTIME_FILES):
                return folder
    where = f"{given} does not hold it" if given else "it is not in node_modules here or above"
    raise MissingDependencyError(
        f"--web needs the npm package {PACKAGE}, but {where}; run `npm install {PACKAGE}`, or "
        f"unpack it and give --web-runtime its folder with {RUNTIME_FILES[0]}."
    )


def export_web(
    saved: Path, graphs: Path, directory: Path, examples: NDArray[Any], runtime: Path
) -> None:
    """Write the page, its scripts, the graphs from stage to stage, and the runtime.

    Args:
        saved: the folder of the saved ensemble, for its ``config.json``.
        graphs: that :func:`~bdistil.export.onnx_export.export_onnx` wrote and checked.
        directory: for the files; what was there works until all are written.
        examples: raw; what is drawn goes from their least value to their largest.
        runtime: see :func:`find_runtime`.

    Raises:
        CheckpointError: if the disk is full.
    """
    own = resources.files("bdistil.export") / "web"
    page = (own / PAGE).read_text(encoding="utf-8")
    ends = {"{low}": examples.min(), "{high}": examples.max()}
    for mark, value in ends.items():
        page = page.replace(mark, f"{value:.9g}")
    with replacing_files(directory, PAGE) as aside:
        write_atomic(aside / PAGE, page.encode())
        for name in SCRIPTS:
            write_atomic(aside / name, (own / name).read_bytes())
        for graph in graphs.glob("stage_*.onnx"):
            write_atomic(aside / graph.name, graph.read_bytes())
        write_atomic(aside / CONFIG_FILE, (saved / CONFIG_FILE).read_bytes())
        weights = read_config(saved / CONFIG_FILE).get("weights_hash", "")
        write_atomic(aside / HASHES_FILE, describe_files(aside, weights))
        for name in RUNTIME_FILES:
            write_atomic(aside / "ort" / name, (runtime / name).read_bytes())
