"""What else a user could run in the ensemble's place, fitted on the same split."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from models import Model, write_estimator

ROOT = Path(__file__).parents[2]
TREES = (1, 2, 5, 10, 20, 50, 100)
ITERATIONS = (1, 2, 5, 10, 20, 50)
TRIES = 16  # candidates of a single student: no fewer than most searches spent on all of theirs


def table_rivals(dataset: Any, folder: Path) -> Iterator[Model]:
    """Logistic regression, smaller forests and shorter boosting, on the labels."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    estimators = {"logistic regression": logistic}
    for trees in TREES:
        estimators[f"forest of {trees}"] = RandomForestClassifier(trees, random_state=0)
    for steps in ITERATIONS:
        estimators[f"boosting of {steps}"] = HistGradientBoostingClassifier(
            max_iter=steps, random_state=0
        )
    for name, estimator in estimators.items():
        estimator.fit(dataset.train.x, dataset.train.y)
        yield write_estimator(estimator, dataset.test.x, folder / f"{name}.onnx")


def fitted_teacher(dataset: Any, spec: Any) -> Any:
    """A scikit-learn teacher as the search had it: same rows (raw features), same seed."""
    from bdistil.core.seeds import derived_seed
    from bdistil.teachers.select import teacher_source

    estimator = teacher_source(dataset, spec).estimator
    estimator.set_params(random_state=derived_seed(spec.seed, "teacher"))
    return estimator.fit(dataset.train.x, dataset.train.y)


def resnet20(data: Path, examples: Any, folder: Path) -> Model:
    """The published smaller network of the same source, trained on by the same images."""
    import runpy

    import safetensors.torch

    from bdistil.export.onnx_export import export_module

    network = runpy.run_path(str(ROOT / "examples" / "cifar_resnet.py"))["resnet20"]()
    network.load_state_dict(safetensors.torch.load_file(data / "cifar10_resnet20.safetensors"))
    export_module(network.eval(), examples, folder / "ResNet-20.onnx")
    return Model("ResNet-20", "rival", "ResNet-20.onnx")


def single_student(command: list[str], kind: str, flops: float, dataset: Any, folder: Path) -> Path:
    """One student that costs as much as the ensemble, from as many candidates; its run."""
    width = width_for(kind, flops, dataset)
    out = folder / "single"
    words = [f"space.student={kind}", f"space.ladder=[{width}]", "search.rounds=1"]
    words += [f"search.tries_per_class={TRIES}", "goal=null", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "bdistil", *command, *words], check=True)
    return out


def width_for(kind: str, flops: float, dataset: Any) -> int:
    """Of the widest student of a class within a cost."""
    import torch

    from bdistil.core.growth import folded_flops, widest
    from bdistil.core.student import StudentConfig
    from bdistil.export.checkpoint import build_student

    def cost(width: int) -> int:
        config = StudentConfig(kind, width, "none", False)
        with torch.device("meta"):
            student = build_student(config, dataset.input_shape, dataset.outputs, ())
            return folded_flops(student, dataset.input_shape, ())

    return max(1, widest(cost, flops))


def int8_of(model: Model, examples: Any, folder: Path, name: str) -> Model:
    """A network's graph in 8 bits, its scales fixed on validation examples."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(np.array_split(examples[:512], 8))

        def get_next(self) -> dict[str, Any] | None:
            rows = next(self.rows, None)
            return None if rows is None else {"x": np.ascontiguousarray(rows, np.float32)}

    logging.root.setLevel(logging.ERROR)
    file = folder / f"{name}.onnx"
    quantization.quantize_static(
        folder / model.file,
        file,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
    )
    return Model(name, "rival", file.name)
