"""Every model of a comparison as an ONNX graph of raw features, so that all run alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 256


@dataclass(frozen=True)
class Model:
    """A graph.

    Attributes:
        name: in tables.
        family: `teacher`, `ours` or `rival`.
        file: below the folder of the comparison.
        output: of the graph, (B, L).
        probabilities: whether that is probabilities; logits otherwise.
    """

    name: str
    family: str
    file: str
    output: str = "logits"
    probabilities: bool = False


def keep_models(models: list[Model], folder: Path) -> None:
    """Write down what is there."""
    (folder / "models.json").write_text(json.dumps([asdict(each) for each in models], indent=1))


def kept_models(folder: Path) -> list[Model]:
    """What :func:`keep_models` wrote."""
    return [Model(**each) for each in json.loads((folder / "models.json").read_text())]


def open_session(file: Path) -> Any:
    """One thread, as a device would."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def probabilities_of(model: Model, folder: Path, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of examples (N, ...), float (N, L)."""
    session = open_session(folder / model.file)
    name = session.get_inputs()[0].name
    found = np.concatenate(
        [session.run([model.output], {name: part})[0] for part in batches(x)]
    ).astype(np.float64)
    if model.probabilities:
        return found
    found = np.exp(found - found.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def batches(x: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Parts of at most BATCH rows."""
    for start in range(0, len(x), BATCH):
        yield np.ascontiguousarray(x[start : start + BATCH], np.float32)


def make_node(*args: Any, **attributes: Any) -> Any:
    """As onnx's, for skl2onnx 1.20: it gives booleans where onnx takes integers alone by now."""
    from onnx import helper

    for name, value in attributes.items():
        if isinstance(value, list | np.ndarray):
            attributes[name] = [
                int(each) if isinstance(each, bool | np.bool_) else each for each in value
            ]
    return helper.make_node(*args, **attributes)


def write_estimator(fitted: Any, x: NDArray[np.float32], file: Path) -> Model:
    """A scikit-learn estimator's graph, held to its answers on examples.

    Raises:
        ValueError: if the graph answers otherwise than the estimator.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common import _container

    _container.make_node = make_node
    graph = to_onnx(fitted, x[:1], options={"zipmap": False})
    file.write_bytes(graph.SerializeToString())
    model = Model(file.stem, "rival", file.name, graph.graph.output[1].name, probabilities=True)
    found = probabilities_of(model, file.parent, x)
    difference = float(np.abs(found - fitted.predict_proba(x)).max(axis=1).mean())
    if difference > 0.005:  # trees compare in float32 there, in float64 here
        raise ValueError(f"{file.name} answers otherwise, by {difference:.3f} of a probability")
    return model
