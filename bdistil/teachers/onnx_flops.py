"""FLOPs of an ONNX graph, counted as torch counts its own: products alone, two each."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

UNTOLD = frozenset(
    [
        "Attention",
        "ConvInteger",
        "DeformConv",
        "Einsum",
        "If",
        "Loop",
        "MatMulInteger",
        "MultiHeadAttention",
        "QLinearConv",
        "QLinearMatMul",
        "Scan",
    ]
)
"""Operations with products that are not counted here, so that nothing is said of their graphs."""
WITHOUT_PRODUCTS = frozenset(
    [
        "ArrayFeatureExtractor",
        "Binarizer",
        "FeatureVectorizer",
        "Imputer",
        "LabelEncoder",
        "Normalizer",
        "Scaler",
        "ZipMap",
    ]
)
"""Of the domain ai.onnx.ml."""


def graph_flops(content: bytes, input_shape: Shape) -> int | None:
    """FLOPs of one example; None if the graph does not tell, or the package onnx is not there.

    Args:
        content: of the file.
        input_shape: of one example.
    """
    if find_spec("onnx") is None:
        return None
    import onnx

    try:
        model = onnx.load_model_from_string(content)
        batch = _fix_batch(model.graph.input[0], input_shape)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = _shapes_of(inferred)
        counts = [_flops_of(node, shapes) for node in inferred.node]
    except Exception:  # shape inference raises its own kinds; a teacher runs without it
        return None
    total = sum(count for count in counts if count is not None)
    return total // batch if total and None not in counts else None


def _fix_batch(value: Any, input_shape: Shape) -> int:
    """Give a free batch one example; how many the graph takes."""
    dimensions = value.type.tensor_type.shape.dim
    batch = dimensions[0].dim_value or 1
    for dimension, size in zip(dimensions, (batch, *input_shape), strict=True):
        dimension.dim_value = size
    return int(batch)


def _shapes_of(graph: Any) -> Shapes:
    """Of every tensor whose shape is known."""
    shapes: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        if kind.HasField("shape") and None not in sizes:
            shapes.setdefault(value.name, tuple(size for size in sizes if size is not None))
    return shapes


def _flops_of(node: Any, shapes: Shapes) -> int | None:
    """Of one operation; None if it is not known. KeyError if a shape is not."""
    operation, inputs = node.op_type, list(node.input)
    if node.domain == "ai.onnx.ml":
        return 0 if operation in WITHOUT_PRODUCTS else None
    if operation in UNTOLD or node.domain not in ("", "ai.onnx"):
        return None
    if operation == "Conv":
        return 2 * math.prod(shapes[node.output[0]]) * math.prod(shapes[inputs[1]][1:])
    if operation == "ConvTranspose":
        return 2 * math.prod(shapes[inputs[0]]) * math.prod(shapes[inputs[1]][1:])
    if operation == "Gemm":
        turned = any(each.name == "transA" and each.i for each in node.attribute)
        return 2 * math.prod(shapes[node.output[0]]) * shapes[inputs[0]][0 if turned else 1]
    if operation == "MatMul":
        return 2 * math.prod(shapes[node.output[0]]) * shapes[inputs[0]][-1]
    if operation in ("GRU", "LSTM", "RNN"):
        steps, batch = shapes[inputs[0]][:2]
        weights = sum(math.prod(shapes[each]) for each in inputs[1:3])
        return 2 * steps * batch * weights
    return 0
