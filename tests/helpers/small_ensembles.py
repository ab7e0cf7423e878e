"""Ensembles with random weights, as saved ones are: raw features in, answers out."""

from __future__ import annotations

from typing import Any

import torch

from bdistil.core.student import Student, StudentConfig
from bdistil.export.checkpoint import build_student
from bdistil.export.config import EnsembleConfig
from bdistil.export.ensemble import Ensemble

SHAPES: dict[str, tuple[int, ...]] = {
    "mlp": (5,),
    "cnn": (1, 6, 6),
    "cnn1d": (9, 3),
    "fcn": (9, 3),
    "spectrogram": (9, 3),
    "gru": (4, 3),
    "lstm": (4, 3),
    "fastgrnn": (4, 3),
}
DOMAINS = {1: "tabular", 2: "sequence", 3: "image"}


def build_students(configs: list[StudentConfig], shape: tuple[int, ...], outputs: int) -> Any:
    students: list[Student] = []
    for config in configs:
        student = build_student(config, shape, outputs, [s.features for s in students])
        torch.nn.init.normal_(student.head.weight)  # with skip it would start at zero
        torch.nn.init.normal_(student.head.bias)
        students.append(student.eval())
    return students


def small_ensemble(
    *students: tuple[str, int, Any, bool], outputs: int = 3, **changes: Any
) -> Ensemble:
    """An ensemble of students given as (kind, width, connection, skip)."""
    configs = [StudentConfig(*student) for student in students]
    shape = changes.get("input_shape") or SHAPES[configs[0].kind]
    settings = {
        "name": "small",
        "domain": DOMAINS[len(shape)],
        "task": "classification",
        "input_shape": shape,
        "outputs": outputs,
        "students": tuple(configs),
        "class_names": tuple(f"class {i}" for i in range(outputs)),
    } | changes
    shift, scale = torch.rand(shape), torch.rand(shape) + 0.5
    built = build_students(configs, shape, outputs)
    return Ensemble(EnsembleConfig(**settings), built, shift, scale)


def inputs(kind: str, count: int = 7) -> torch.Tensor:
    return torch.randn(count, *SHAPES[kind])
