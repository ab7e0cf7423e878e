"""The contract of a student class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from bdistil.core.cohort import vectorises
from bdistil.core.cost import flops, parameters
from bdistil.core.examples import Examples, Measure
from bdistil.core.game import Rules
from bdistil.core.round import Round
from bdistil.core.student import Student, StudentConfig
from bdistil.core.training_split import TrainingSplit
from bdistil.optional import require
from bdistil.testing.network_checks import (
    Shape,
    expect,
    expect_gradients,
    expect_numbers,
    inputs_of,
)
from bdistil.zoo import student_class

STUDENT_SHAPES: dict[str, Sequence[Shape]] = {
    "tabular": [(16,), (1,)],
    "image": [(1, 8, 8), (1, 28, 28), (3, 33, 50), (1, 3, 3)],
    "sequence": [(29, 12), (100, 6), (7, 1), (1, 4)],
}
"""Shapes of one example that a class of each domain has to take."""

Check = Callable[[str, Shape], None]


def check_student(name: str, shapes: Sequence[Shape] | None = None) -> None:
    """Hold a student class to the whole contract, but for its export.

    Args:
        name: of a registered class.
        shapes: of one example; None for all of ``STUDENT_SHAPES`` in the class's domains.

    Raises:
        AssertionError: saying what is broken.
        SpecError: if there is no such class, or it refuses a shape.
    """
    if shapes is None:
        domains = student_class(name).domains
        shapes = [shape for domain in domains for shape in STUDENT_SHAPES[domain]]
    for shape in shapes:
        for check in STUDENT_CHECKS:
            check(name, shape)


def check_features(name: str, shape: Shape) -> None:
    """Features are finite, float32 and as many as the body promises."""
    body = _body(name, shape)
    expect(type(body.features) is int, f"{name}: body.features is {body.features!r}, no int.")
    expect_numbers(f"{name}: features", body(inputs_of(shape)), (6, int(body.features)))


def check_examples_apart(name: str, shape: Shape) -> None:
    """Examples of a batch do not see each other."""
    body, x = _body(name, shape), inputs_of(shape)
    _expect_close(f"{name}: an example's features depend on its batch", body(x)[2:3], body(x[2:3]))


def check_gradients(name: str, shape: Shape) -> None:
    """The gradient reaches every parameter."""
    body = _body(name, shape)
    body(inputs_of(shape)).square().sum().backward()
    expect_gradients(name, body, shape)


def check_seeds(name: str, shape: Shape) -> None:
    """Equal seeds give equal bodies, different ones give different bodies."""
    x = inputs_of(shape)
    first, same, other = (_body(name, shape, seed=seed)(x) for seed in (0, 0, 1))
    expect(torch.equal(first, same), f"{name}: two bodies of one seed differ.")
    expect(not torch.equal(first, other), f"{name}: bodies of two seeds are equal.")


def check_growth(name: str, shape: Shape) -> None:
    """FLOPs and parameters grow strictly with the width."""
    bodies = [_body(name, shape, width) for width in (1, 2, 5)]
    for unit, counts in (
        ("FLOPs", [flops(body, shape) for body in bodies]),
        ("parameters", [parameters(body) for body in bodies]),
    ):
        grows = counts[0] > 0 and all(a < b for a, b in pairwise(counts))
        expect(grows, f"{name}: {unit} of widths 1, 2 and 5 are {counts}; they must grow.")


def check_modes(name: str, shape: Shape) -> None:
    """Training mode changes nothing: no dropout, no statistics of the batch."""
    body, x = _body(name, shape), inputs_of(shape)
    equal = torch.equal(body.train()(x), body.eval()(x))
    expect(equal, f"{name}: the body answers differently in training mode.")


def check_saving(name: str, shape: Shape) -> None:
    """Weights survive safetensors."""
    body, other, x = _body(name, shape), _body(name, shape, seed=1), inputs_of(shape)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(body.state_dict())))
    equal = torch.equal(body(x), other(x))
    expect(equal, f"{name}: the body answers differently after saving and loading its weights.")


def check_stacking(name: str, shape: Shape) -> None:
    """Bodies that can be stacked answer as each of them does alone."""
    if not stacks(name, shape):
        return
    bodies, x = [_body(name, shape, seed=seed) for seed in range(3)], inputs_of(shape)
    stacked = vmap(lambda *state: functional_call(bodies[0], state, (x,)))
    alone = torch.stack([body(x) for body in bodies])
    _expect_close(f"{name}: stacked bodies differ", stacked(*stack_module_state(bodies)), alone)


STUDENT_CHECKS: tuple[Check, ...] = (
    check_features,
    check_examples_apart,
    check_gradients,
    check_seeds,
    check_growth,
    check_modes,
    check_saving,
    check_stacking,
)
"""All of the contract but the export: functions of a name and a shape."""


def check_student_exports(name: str, shape: Shape) -> None:
    """Exported programs, torch's and ONNX, take any batch and answer alike; takes seconds.

    Raises:
        AssertionError: if they differ.
        MissingDependencyError: if onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "onnx")
    body = _body(name, shape).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters', about themselves
        batch = ({0: torch.export.Dim.DYNAMIC},)
        program = torch.export.export(body, (inputs_of(shape, 2),), dynamic_shapes=batch)
        graph = torch.onnx.export(program, dynamo=True, input_names=["x"], verbose=False)
    assert graph is not None  # with dynamo it is a program
    session = require("onnxruntime", "onnx").InferenceSession(graph.model_proto.SerializeToString())
    for count in (1, 5):
        x = inputs_of(shape, count)
        [features] = session.run(None, {"x": x.numpy()})
        for what, answer in (("program", program.module()(x)), ("graph", torch.tensor(features))):
            _expect_close(f"{name}: the exported {what} differs, batch {count}", answer, body(x))


def stacks(name: str, shape: Shape) -> bool:
    """Whether bodies of the class train stacked in a cohort, or one by one."""
    student = Student(StudentConfig(name, 3, "none", True), _body(name, shape), 2, [])
    teacher, labels = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    split = Examples.before_round_one(inputs_of(shape, 4), teacher, labels)
    train = TrainingSplit.before_round_one([split], Rules(0.1, "joint", 1.0, 1.0))
    return vectorises(student, Round.of(train, split, Measure("classification", 0.5)))


def _body(name: str, shape: Shape, width: int = 3, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    body: nn.Module = student_class(name).build(shape, width)
    return body


def _expect_close(what: str, found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(
        found, expected, rtol=1e-5, atol=1e-5, msg=lambda why: f"{what}: {why}"
    )
