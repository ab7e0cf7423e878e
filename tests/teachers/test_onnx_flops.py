"""FLOPs of ONNX teachers against torch's own count of the networks that were exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from bdistil.core.cost import flops
from bdistil.teachers.onnx_flops import graph_flops
from bdistil.zoo.registry import build_teacher

NETWORKS = [
    ("mlp", "tabular", (7,)),
    ("resnet", "image", (3, 16, 12)),
    ("fcn", "sequence", (20, 3)),
    ("spectrogram", "sequence", (20, 6)),
]


def exported(network: nn.Module, shape: tuple[int, ...], file: Path, batch: int | None) -> bytes:
    example = torch.zeros(batch or 2, *shape)
    dynamic = None if batch else ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        network.eval(), (example,), file, dynamo=True, dynamic_shapes=dynamic, external_data=False
    )
    return file.read_bytes()


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize(("name", "domain", "shape"), NETWORKS)
def test_the_count_is_torchs(tmp_path: Path, name: str, domain, shape, batch) -> None:
    network = build_teacher(name, domain, shape, 5, {})
    content = exported(network, shape, tmp_path / "teacher.onnx", batch)
    assert graph_flops(content, shape) == flops(network, shape)


def of_nodes(*nodes, shape=(None, 6), weights=None, domain: str = "") -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initialisers = [
        onnx.numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in (weights or {}).items()
    ]
    graph = helper.make_graph(list(nodes), "g", [x], [y], initialisers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    return helper.make_model(graph, opset_imports=opsets).SerializeToString()


def test_recurrent_layers_count_each_step() -> None:
    weights = {"w": np.zeros((1, 4 * 5, 3)), "r": np.zeros((1, 4 * 5, 5))}
    turned = helper.make_node("Transpose", ["x"], ["s"], perm=[1, 0, 2])
    layer = helper.make_node("LSTM", ["s", "w", "r"], ["y"], hidden_size=5)
    content = of_nodes(turned, layer, shape=(None, 9, 3), weights=weights)
    assert graph_flops(content, (9, 3)) == 2 * 9 * 4 * 5 * (3 + 5)


@pytest.mark.parametrize(
    ("operation", "domain"),
    [("TreeEnsembleClassifier", "ai.onnx.ml"), ("FusedMatMul", "com.microsoft"), ("Loop", "")],
)
def test_of_a_graph_that_does_not_tell_nothing_is_said(operation: str, domain: str) -> None:
    weights = {"w": np.zeros((6, 4))}
    product = helper.make_node("MatMul", ["x", "w"], ["h"])
    assert (
        graph_flops(
            of_nodes(product, helper.make_node("Relu", ["h"], ["y"]), weights=weights), (6,)
        )
        == 2 * 6 * 4
    )
    other = helper.make_node(operation, ["h"], ["y"], domain=domain)
    own = domain if domain == "com.microsoft" else ""
    assert graph_flops(of_nodes(product, other, weights=weights, domain=own), (6,)) is None


def test_what_is_no_graph_is_left_to_the_runtime() -> None:
    assert graph_flops(b"no graph", (6,)) is None
