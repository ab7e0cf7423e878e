"""Stacked ensembles answer as the step-by-step ones do; how fast they are is for benchmarks."""

from __future__ import annotations

import copy
import operator
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_ensembles import small_ensemble
from torch import Tensor, nn

from bdistil.errors import DataError
from bdistil.export.ensemble import Ensemble
from bdistil.export.fastest import fastest_way
from bdistil.export.graphs import StageGraph, stage_inputs
from bdistil.export.merged_layers import Affine
from bdistil.export.merging import merge
from bdistil.export.stacking import AlignedBody
from bdistil.names import STACKINGS, Stacking
from bdistil.zoo.fcn import Slopes

SHAPES: dict[str, tuple[int, ...]] = {
    "mlp": (5,),
    "cnn": (1, 6, 6),
    "convnet": (3, 9, 9),
    "separable": (2, 10, 10),
    "resnet": (1, 9, 9),
    "cnn1d": (9, 3),
    "fcn": (9, 3),
    "spectrogram": (9, 3),
    "vit": (1, 14, 14),
    "gru": (4, 3),
    "lstm": (4, 3),
    "fastgrnn": (4, 3),
}
STACKED = ("mlp", "cnn", "convnet", "separable", "resnet", "cnn1d", "fcn", "spectrogram")
CONNECTIONS = ("none", "dense", "residual", "lstm", "gru")
WAYS = STACKINGS[1:]


def build(*students: tuple[str, int, Any, bool], shape: tuple[int, ...] | None = None) -> Ensemble:
    torch.manual_seed(0)
    shape = shape or SHAPES[students[0][0]]
    ensemble = small_ensemble(*students, input_shape=shape)
    for module in ensemble.modules():
        if isinstance(module, Slopes):  # which start level
            nn.init.normal_(module.slope)
    places = shape[:1] + (1,) * (len(shape) - 1) if len(shape) == 3 else shape[-1:]
    ensemble.shift, ensemble.scale = 2 * torch.rand(places), torch.rand(places) + 0.5
    return ensemble


def examples(ensemble: Ensemble, count: int = 7) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, *ensemble.config.input_shape) * 3


@torch.no_grad()
def check_every_stage(ensemble: Ensemble, way: Stacking) -> None:
    x = examples(ensemble)
    expected = list(ensemble.stages(x))
    stages = range(1, len(ensemble) + 1)
    at_once = ensemble.stack(stages, way)(x)
    assert at_once.shape == (len(x), len(ensemble), ensemble.outputs)
    for stage in stages:
        for found in (at_once[:, stage - 1], ensemble.stack(stage, way)(x)):
            logits = expected[stage - 1]
            near = 1e-5 * max(1.0, logits.abs().max().item())  # sums of terms of that size
            torch.testing.assert_close(found, logits, rtol=1e-5, atol=near)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SHAPES)
def test_bodies_of_every_class(kind: str, way: Stacking) -> None:
    ensemble = build(
        (kind, 2, "dense", True), (kind, 3, "residual", False), (kind, 2, "none", True)
    )
    check_every_stage(ensemble, way)
    assert (kind in ensemble.kept_apart()) == (kind not in STACKED)


students = st.tuples(st.integers(1, 5), st.sampled_from(CONNECTIONS), st.booleans())


@given(st.lists(students, min_size=1, max_size=5), st.sampled_from(("mlp", "cnn")))
@settings(max_examples=40, deadline=None)
def test_any_connections_skips_and_widths(layout: list[Any], kind: str) -> None:
    first = layout[0][1] if layout[0][1] not in ("lstm", "gru") else "none"
    rest = [(kind, *each) for each in layout[1:]]
    check_every_stage(build((kind, layout[0][0], first, layout[0][2]), *rest), "block")


@pytest.mark.parametrize("way", WAYS)
def test_bodies_of_several_classes(way: Stacking) -> None:
    mixed = [("mlp", 3, "none", True), ("gru", 2, "dense", True), ("mlp", 2, "lstm", False)]
    ensemble = build(*mixed, ("gru", 3, "residual", True), shape=(4, 3))
    check_every_stage(ensemble, way)
    assert ensemble.kept_apart() == {"gru": "GRU layers do not stack"}


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("kind", SHAPES)
@torch.no_grad()
def test_stages_with_filled_channels_answer_and_leave_the_same(kind: str, connection: str) -> None:
    ensemble = build((kind, 3, connection, True), (kind, 2, connection, False))
    x = examples(ensemble)
    for stage, inputs in enumerate(stage_inputs(ensemble, x.numpy()), start=1):
        plain, filled = (StageGraph(ensemble, stage, way) for way in ("none", "aligned"))
        assert isinstance(filled.student.body, AlignedBody) == (kind in STACKED)
        for mine, other in zip(filled(*inputs), plain(*inputs), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(student.body, AlignedBody) for student in ensemble)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", ["cnn", "separable", "mlp"])  # with another grid, equal, and none
def test_maps_of_several_classes_are_laid_out_as_vectors(other: str, way: Stacking) -> None:
    students = ("convnet", 2, "none", True), (other, 3, "dense", True), ("convnet", 3, "gru", True)
    check_every_stage(build(*students, shape=(3, 10, 10)), way)


def test_channels_are_joined_before_they_are_laid_out_as_vectors() -> None:
    network = build(*[("convnet", width, "dense", True) for width in (2, 9, 4)]).stack(3, "aligned")
    joined = next(node for node in network.graph.nodes if node.target is torch.cat)
    assert [(node.op, node.target) for node in joined.users] == [("call_method", "flatten")]
    calls = [node.target for node in network.graph.nodes]
    assert calls.count("flatten") + calls.count(torch.flatten) == 1


@pytest.mark.parametrize("way", WAYS)
def test_only_the_shift_is_computed_before_convolutions_that_pad(way: Stacking) -> None:
    for kind, computed in (("convnet", [operator.sub]), ("cnn", [])):
        network = build(*[(kind, 3, "dense", True)] * 2).stack(2, way)
        targets = [node.target for node in network.graph.nodes]
        assert [t for t in targets if t in (operator.sub, operator.truediv)] == computed


def test_some_stages_at_once() -> None:
    ensemble = build(*[("mlp", 3, "dense", True)] * 4)
    x = examples(ensemble)
    with torch.no_grad():
        expected = list(ensemble.stages(x))
        found = ensemble.stack([2, 4])(x)
    torch.testing.assert_close(found, torch.stack([expected[1], expected[3]], dim=1))
    with pytest.raises(DataError, match="stages is 5"):
        ensemble.stack([2, 5])


@pytest.mark.parametrize("shift", [1e4, 1e6])
@torch.no_grad()
def test_a_mean_of_many_deviations_costs_no_digits(shift: float) -> None:
    ensemble = build(*[("mlp", 3, "dense", True)] * 2)
    ensemble.shift, ensemble.scale = torch.full((5,), shift), torch.full((5,), 0.25)
    x = shift + examples(ensemble)
    expected = list(ensemble.stages(x))[-1]
    torch.testing.assert_close(ensemble.stack(2)(x), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_tiny_scale_gives_no_infinite_weights() -> None:
    ensemble = build(*[("mlp", 3, "dense", True)] * 2)
    ensemble.shift, ensemble.scale = torch.zeros(5), torch.full((5,), 1e-39)
    x = 1e-39 * examples(ensemble)
    expected = list(ensemble.stages(x))[-1]
    torch.testing.assert_close(ensemble.stack(2)(x), expected, rtol=1e-3, atol=1e-3)


class Scaled(nn.Module):
    """A user's body with a layer more, an activation as a function and a sum of two branches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, width), nn.Linear(4, width)
        self.last = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).flatten(1)
        return torch.tanh(self.last(torch.relu(self.first(x)) + self.second(x)))


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_a_users_body_of_several_layers(way: Stacking) -> None:
    torch.manual_seed(0)
    bodies = [Scaled(width).eval() for width in (2, 4, 3)]
    affine = Affine(torch.rand(1, 2, 2), torch.rand(1, 2, 2) + 0.5)
    x = torch.randn(5, 2, 2)
    merged = merge(bodies, torch.zeros(1, 2, 2), affine, way)
    features = merged.network(x)
    assert features.shape[1] == merged.width
    for body, places in zip(bodies, merged.places, strict=True):
        expected = body((x - affine.shift) / affine.scale)
        torch.testing.assert_close(features[:, places], expected, rtol=1e-5, atol=1e-5)


class Chooses(nn.Module):
    """A body that looks at its input."""

    def __init__(self) -> None:
        super().__init__()
        self.features = 2
        self.layer = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else -self.layer(x)


def test_a_body_that_looks_at_its_input_runs_as_it_is() -> None:
    ensemble = build(*[("mlp", 2, "dense", True)] * 2)
    for student in ensemble:
        student.body = Chooses()
    assert ensemble.kept_apart() == {"mlp": "they cannot be traced"}
    check_every_stage(ensemble, "block")


def measured(*ways: Stacking) -> Ensemble:
    ensemble = build(*[("mlp", 3, "dense", True)] * len(ways))
    object.__setattr__(ensemble.config, "stacking", ways)
    return ensemble


@torch.no_grad()
def test_what_was_faster_is_taken_where_no_gradients_are_wanted() -> None:
    ensemble, x = measured("none", "block"), torch.randn(3, 5)
    assert ensemble.stacked(1) is None
    taken = ensemble.stacked(2)
    assert taken is not None
    assert torch.equal(ensemble(x, 2), taken(x))
    with torch.enable_grad():
        ensemble(x, 2).sum().backward()
    assert all(p.grad is not None for p in ensemble.students[0].body.parameters())


@torch.no_grad()
def test_new_weights_or_another_precision_leave_no_stale_stack() -> None:
    ensemble, other = measured("block", "block"), build(*[("mlp", 3, "dense", True)] * 2)
    for parameter in other.parameters():
        parameter.mul_(2)
    x = examples(ensemble)
    ensemble(x)
    ensemble.load_state_dict(other.state_dict())
    torch.testing.assert_close(ensemble(x), list(other.stages(x))[-1], rtol=1e-5, atol=1e-5)
    assert ensemble.double()(x).dtype is torch.float64
    assert ensemble.to(torch.bfloat16).stacked(2) is None


@torch.no_grad()
def test_a_used_stack_is_copied_and_pickled() -> None:
    ensemble = measured("block", "block")
    x = examples(ensemble)
    expected = ensemble(x)
    for twin in (copy.deepcopy(ensemble), pickle.loads(pickle.dumps(ensemble))):
        assert torch.equal(twin(x), expected)


def test_every_stage_is_measured() -> None:
    ensemble = build(*[("convnet", 2, "dense", True)] * 2)
    found = ensemble.with_fastest_ways()
    assert set(found.config.stacking) <= set(STACKINGS)
    assert len(found.config.stacking) == 2
    assert found.truncated(1).config.stacking == found.config.stacking[:1]


def test_what_does_not_stack_is_left_as_it_is() -> None:
    ensemble = build(*[("gru", 2, "dense", True)] * 2)
    assert ensemble.with_fastest_ways().config.stacking == ("none", "none")


def test_a_way_that_differs_is_not_taken() -> None:
    calls = []

    def wrong(x: np.ndarray) -> np.ndarray:
        calls.append(x)
        return x + 1e-3

    ways = {"none": lambda x: x, "block": wrong}
    assert fastest_way(ways, [np.zeros((1, 2), np.float32)]) == "none"
    assert calls
