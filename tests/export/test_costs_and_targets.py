"""Figures against counts by hand, and raw targets against the affine map they stand for."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_ensembles import build_students, inputs, small_ensemble
from torch import nn

from bdistil.core.connections import connection_names
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import StudentConfig
from bdistil.data.standardise import TargetScale
from bdistil.export.evaluation import TeacherCosts, evaluate
from bdistil.runtime.clock import told_ratio
from bdistil.searching.outcome import to_raw_targets

INPUTS, OUTPUTS, WIDTHS = 5, 3, (3, 4, 2)


def dense_ensemble() -> ProgressiveEnsemble:
    configs = [StudentConfig("mlp", width, "dense", True) for width in WIDTHS]
    return ProgressiveEnsemble(OUTPUTS, build_students(configs, (INPUTS,), OUTPUTS))


def test_flops_and_parameters_of_a_dense_mlp_ensemble_are_those_counted_by_hand() -> None:
    teacher = nn.Sequential(nn.Linear(INPUTS, 20), nn.GELU(), nn.Linear(20, OUTPUTS))
    x, truth = torch.randn(40, INPUTS), torch.randint(0, OUTPUTS, (40,))
    figures = evaluate(dense_ensemble(), x, truth, teacher(x), teacher, "classification")
    units = list(accumulate(WIDTHS))
    assert figures.teacher.flops == 2 * (INPUTS * 20 + 20 * OUTPUTS)
    assert figures.teacher.parameters == INPUTS * 20 + 20 + 20 * OUTPUTS + OUTPUTS
    straight = [2 * INPUTS * n + 2 * n * OUTPUTS for n in units]
    assert [stage.flops for stage in figures.stages] == straight
    # Each head reads every hidden state so far.
    streamed = accumulate(
        2 * INPUTS * width + 2 * n * OUTPUTS for width, n in zip(WIDTHS, units, strict=True)
    )
    assert [stage.streamed_flops for stage in figures.stages] == list(streamed)
    held = [(INPUTS + 1) * n + (n + 1) * OUTPUTS for n in units]
    assert [stage.parameters for stage in figures.stages] == held
    for stage in figures.stages:
        assert stage.flops_fraction == pytest.approx(stage.flops / figures.teacher.flops)
        assert stage.latency is not None
        assert figures.teacher.latency is not None
        assert stage.latency > 0
        assert stage.latency_ratio == pytest.approx(stage.latency / figures.teacher.latency)


def test_a_teacher_that_is_no_network_has_the_time_that_was_measured_of_it() -> None:
    x, truth = torch.randn(40, INPUTS), torch.randint(0, OUTPUTS, (40,))
    costs = TeacherCosts(None, None, seconds=3600.0)
    logits = torch.randn(40, OUTPUTS)
    figures = evaluate(dense_ensemble(), x, truth, logits, None, "classification", costs)
    for stage in figures.stages:
        assert stage.latency_ratio is not None
        assert 0 < stage.latency_ratio < 1e-3


@pytest.mark.parametrize(("ratio", "told"), [(1, "1.00"), (0.43, "0.43"), (0.00123, "0.0012")])
def test_small_ratios_keep_two_digits(ratio: float, told: str) -> None:
    assert told_ratio(ratio) == told


def test_metrics_are_those_of_the_stages() -> None:
    ensemble = dense_ensemble()
    x, truth = torch.randn(60, INPUTS), torch.randint(0, OUTPUTS, (60,))
    logits = torch.randn(60, OUTPUTS)
    figures = evaluate(ensemble, x, truth, logits, None, "classification")
    for stage, answer in zip(figures.stages, ensemble.stages(x), strict=True):
        assert stage.metric == pytest.approx((answer.argmax(1) == truth).double().mean().item())
    assert figures.teacher.metric == pytest.approx((logits.argmax(1) == truth).double().mean())
    assert figures.examples == 60


def test_a_teacher_known_by_its_outputs_alone_has_no_cost() -> None:
    x = torch.randn(9, INPUTS)
    figures = evaluate(
        dense_ensemble(), x, torch.randn(9, 3), torch.zeros(9, 3), None, "regression"
    )
    assert (figures.teacher.flops, figures.teacher.parameters) == (None, None)
    assert all(s.flops_fraction is None and s.latency_ratio is None for s in figures.stages)
    assert figures.teacher.latency is None
    assert all(s.latency is not None for s in figures.stages)  # they can be timed without it


def test_figures_are_finite_also_where_all_targets_are_equal() -> None:
    x, truth = torch.randn(9, INPUTS), torch.ones(9, OUTPUTS)
    figures = evaluate(dense_ensemble(), x, truth, truth, None, "regression")
    assert figures.teacher.metric == 1
    assert type(figures).model_validate_json(figures.model_dump_json()) == figures


def test_evaluation_leaves_the_ensemble_as_it_was() -> None:
    ensemble = small_ensemble(("gru", 3, "gru", True), ("gru", 2, "lstm", False))
    x = inputs("gru")
    before = ensemble(x)
    evaluate(ensemble, x, torch.zeros(7).long(), torch.zeros(7, 3), None, "classification")
    assert torch.equal(ensemble(x), before)


connections = st.sampled_from(connection_names())
kinds = st.lists(st.tuples(st.integers(1, 3), connections, st.booleans()), min_size=1, max_size=5)


@given(kinds=kinds, seed=st.integers(0, 2**31))
@torch.no_grad()
def test_raw_targets_are_the_affine_map_of_standardised_ones_at_every_stage(
    kinds: list[tuple[int, str, bool]], seed: int
) -> None:
    torch.manual_seed(seed)
    configs = [StudentConfig("mlp", *kind) for kind in kinds]
    ensemble = ProgressiveEnsemble(2, build_students(configs, (INPUTS,), 2))
    x = torch.randn(6, INPUTS)
    scale, shift = np.array([3.0, 0.5], np.float32), np.array([-40.0, 7.0], np.float32)
    expected = [torch.as_tensor(scale) * f + torch.as_tensor(shift) for f in ensemble.stages(x)]
    to_raw_targets(ensemble, TargetScale(scale, shift))
    for raw, wanted in zip(ensemble.stages(x), expected, strict=True):
        torch.testing.assert_close(raw, wanted, rtol=1e-4, atol=1e-3)
