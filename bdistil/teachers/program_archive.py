"""Reading ``torch.export`` programs without running what they hold.

``torch.export.load`` unpickles payloads that say so, evaluates shape expressions as Python, takes
operators from anywhere under ``torch`` and loads native code that lies in the archive. Only
archives without any of these are read: tensors, a graph of aten operators and plain names.
"""

from __future__ import annotations

import ast
import io
import json
import operator
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from bdistil.errors import TeacherError, told

CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
GRAPH, SAMPLE = "models/model.json", "data/sample_inputs/model.pt"
MEMBER = re.compile(
    r"byteorder|version|archive_format|archive_version|\.data/\w+|data/weights/weight_\d+"
    rf"|data/constants/tensor_\d+|{'|'.join(map(re.escape, (*CONFIGS, GRAPH, SAMPLE)))}"
)
PLAIN = re.compile(r"[\w.,> -]*")  # no call, quote, bracket, assignment or line break
TREE = re.compile(r'[\w\s.,:"\[\]{}]*')  # JSON of nested tuples, lists and dicts
UNREAD = ("metadata", "guards_code")  # shown in traces; left out by module(check_guards=False)
ARITHMETIC = {
    *("getitem", "add", "sub", "mul", "floordiv", "truediv", "mod", "neg"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_"),
}
SYMBOLS = {"Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Max", "Min", "FloorDiv", "Mod"}
EXPRESSION = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop),
)


def load_program(path: Path) -> ExportedProgram:
    """Read a program after looking at all that is in it.

    Raises:
        TeacherError: if it is damaged or could run code beyond aten operators on tensors.
    """
    content = path.read_bytes()  # once, so that what is checked is what is read
    try:
        found = next(problems(content), None)
        if found is None:
            return torch.export.load(io.BytesIO(content))
    except Exception as error:  # damage shows in as many ways as there are readers
        raise TeacherError(
            f"{path} is no torch.export program that torch {torch.__version__} can read "
            f"({told(error)}); export it again, or as .onnx."
        ) from None
    raise TeacherError(
        f"{path} is not opened, since reading it could run code ({found}); export the network as "
        f".onnx, or give module:factory as teacher.model and its weights as .safetensors."
    )


def problems(content: bytes) -> Iterator[str]:
    """What in an archive could run code when it is read, in words."""
    from torch.export.pt2_archive import PT2ArchiveReader  # a second, as it brings torch's compiler

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # Members outside a folder make torch read its old format.
        yield from (f"it holds {name}" for name in archive.namelist() if "/" not in name)
    reader = PT2ArchiveReader(io.BytesIO(content))
    yield from (f"it holds {n}" for n in reader.get_file_names() if not MEMBER.fullmatch(n))
    for config in CONFIGS:
        payloads = json.loads(reader.read_bytes(config))["config"]
        yield from (f"{name} is a pickle" for name, p in payloads.items() if p["use_pickle"])
        yield from _strange_texts(payloads)
    if not _is_tensors(reader.read_bytes(SAMPLE)):
        yield "its sample inputs are a pickle"
    yield from _strange_texts(json.loads(reader.read_bytes(GRAPH)))


def _is_tensors(content: bytes) -> bool:
    """Whether torch reads this without unpickling it freely, as it would after a failure."""
    buffer = io.BytesIO(content)
    try:
        return not content or torch.load(buffer, weights_only=True) is not None
    except pickle.UnpicklingError:
        return False


def _strange_texts(tree: Any, key: str = "") -> Iterator[str]:
    """Every text of nested JSON that is more than a name, an aten operator or a shape."""
    if isinstance(tree, dict):
        yield from (f"the name {name!r:.60}" for name in tree if not PLAIN.fullmatch(name))
        for name, value in tree.items():
            if name not in UNREAD:
                yield from _strange_texts(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strange_texts(value, key)
    elif isinstance(tree, str) and not _is_harmless(tree, key):
        yield f"{key} is {tree!r:.60}"


def _is_harmless(text: str, key: str) -> bool:
    if key == "target":
        return _is_operator(text)
    if key == "expr_str":
        return _is_shape(text)
    if key in ("in_spec", "out_spec"):
        return bool(TREE.fullmatch(text)) and "fqn" not in text  # which imports enumerations
    if key == "torch_version":
        return True
    return bool(PLAIN.fullmatch(text))


def _is_operator(target: str) -> bool:
    """Whether a target is an aten operator without files, or arithmetic."""
    module, _, name = target.rpartition(".")
    if module == "_operator":
        return name in ARITHMETIC and hasattr(operator, name)
    prefix, _, packet_name = module.rpartition(".")
    if prefix != "torch.ops.aten":
        return False
    packet = getattr(torch.ops.aten, packet_name, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or name not in packet.overloads():
        return False
    arguments = getattr(packet, name)._schema.arguments
    return all(argument.name != "filename" for argument in arguments)


def _is_shape(text: str) -> bool:
    """Whether an expression is made of numbers and symbols alone, such as ``Symbol('s77')``."""
    nodes = list(ast.walk(ast.parse(text, mode="eval")))
    called = {id(node.func): node.func for node in nodes if isinstance(node, ast.Call)}
    return all(
        isinstance(node, EXPRESSION)
        and (not isinstance(node, ast.Constant) or PLAIN.fullmatch(str(node.value)) is not None)
        and (id(node) not in called or (isinstance(node, ast.Name) and node.id in SYMBOLS))
        for node in nodes
    )
