"""Search spaces fit their data, also those whose data are not here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bdistil.core.cost import flops
from bdistil.datasets.catalogue import list_datasets
from bdistil.spec import load_spec
from bdistil.zoo.defaults import default_student
from bdistil.zoo.registry import build_teacher, student_class

FOLDER = Path(__file__).parents[2] / "search_spaces"
ENTRIES = {entry.name: entry for entry in list_datasets()}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_data_set_has_a_search_space_whose_networks_take_it(name: str) -> None:
    entry, spec = ENTRIES[name], load_spec(FOLDER / f"{name}.yaml")
    assert spec.data.name == name
    outputs = entry.classes or 1
    teacher, students = spec.teacher, spec.space.values("student")
    own = default_student(entry.domain, entry.input_shape)
    kinds = [own] if students == ("auto",) else students
    with torch.device("meta"):
        model = build_teacher(
            teacher.model, entry.domain, entry.input_shape, outputs, teacher.options
        )
        bodies = [
            student_class(kind).build(entry.input_shape, spec.space.rungs[0][1]) for kind in kinds
        ]
    for body in bodies:
        assert flops(body, entry.input_shape) < flops(model, entry.input_shape) / 4
