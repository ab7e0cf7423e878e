"""Graphs that name other files are refused by a check of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import damaged, fuzz
from hypothesis import given
from hypothesis import strategies as st

from bdistil.runtime.onnx_file import fault_of

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = onnx.TensorProto.FLOAT


def tensor(name: str, external: bool) -> Any:
    made = numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(2, 2), name)
    if external:
        made.ClearField("raw_data")
        made.data_location = onnx.TensorProto.EXTERNAL
        made.external_data.add(key="location", value="../../etc/passwd")
    return made


def model(place: str | None) -> Any:
    """A product; at `place` lies a tensor whose content is in another file."""
    kept = [tensor("w", place == "initialiser")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if place == "constant":
        nodes.append(helper.make_node("Constant", [], ["c"], value=tensor("c", True)))
    if place == "branch":
        branch = helper.make_graph([], "inner", [], [], initializer=[tensor("d", True)])
        nodes.append(helper.make_node("If", ["y"], ["z"], then_branch=branch, else_branch=branch))
    x, y = (helper.make_tensor_value_info(name, FLOAT, [None, 2]) for name in "xy")
    graph = helper.make_graph(nodes, "graph", [x], [y], initializer=kept)
    functions = []
    if place == "function":
        inner = helper.make_node("Constant", [], ["c"], value=tensor("c", True))
        opset = [helper.make_opsetid("", 18)]
        functions = [helper.make_function("own", "f", [], ["c"], [inner], opset)]
    return helper.make_model(graph, functions=functions)


def test_weights_in_the_file_are_read() -> None:
    assert fault_of(model(None).SerializeToString()) == ""


@pytest.mark.parametrize("place", ["initialiser", "constant", "branch", "function"])
def test_weights_elsewhere_are_refused(place: str) -> None:
    assert "keeps weights in other files" in fault_of(model(place).SerializeToString())


def test_a_saved_model_with_external_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    settings = {"save_as_external_data": True, "size_threshold": 0, "location": "weights"}
    onnx.save_model(model(None), path, **settings)
    assert "keeps weights in other files" in fault_of(path.read_bytes())


@fuzz(100)
@given(st.sampled_from([None, "initialiser", "branch"]), st.data())
def test_damaged_files_are_read_or_refused(place: str | None, data: st.DataObject) -> None:
    content = data.draw(damaged(model(place).SerializeToString()))
    found = fault_of(content)
    try:
        parsed = onnx.load_model_from_string(content)
    except Exception:
        return  # whatever it is, no graph
    tensors = onnx.external_data_helper._get_all_tensors(parsed)
    if any(onnx.external_data_helper.uses_external_data(each) for each in tensors):
        assert found
