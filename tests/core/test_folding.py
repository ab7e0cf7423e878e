"""Folding keeps every answer and never costs more."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_students import (
    INPUTS,
    OUTPUTS,
    build_ensemble,
    layouts,
    property_test,
    random_array,
    seeds,
)

from bdistil.core.cost import flops, parameters
from bdistil.core.folding import FoldedPrefix, folded_head, logit_shares
from bdistil.core.progressive_ensemble import ProgressiveEnsemble

DIGITS = [(4, "dense", True), (5, "dense", False), (4, "dense", True)]


def prefix(ensemble, stage):
    return ProgressiveEnsemble(ensemble.outputs, list(ensemble)[:stage])


@property_test
@given(layouts, seeds)
def test_every_folded_stage_gives_the_ensembles_answer_for_no_more_flops(layout, seed):
    ensemble = build_ensemble(layout, seed)
    x = torch.from_numpy(random_array(seed, 9, INPUTS))
    for stage, logits in enumerate(ensemble.stages(x), start=1):
        folded = FoldedPrefix(ensemble, stage)
        torch.testing.assert_close(folded(x), logits, rtol=1e-5, atol=1e-5)
        assert flops(folded, (INPUTS,)) <= flops(prefix(ensemble, stage), (INPUTS,))


@property_test
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.booleans())
def test_a_folded_dense_ensemble_costs_what_one_without_connections_costs(widths, skip):
    dense = build_ensemble([(width, "dense", skip) for width in widths])
    plain = build_ensemble([(width, "none", skip) for width in widths])
    by_hand = sum(2 * INPUTS * width + 2 * width * OUTPUTS for width in widths)
    assert flops(FoldedPrefix(dense, len(widths)), (INPUTS,)) == by_hand
    assert flops(plain, (INPUTS,)) == by_hand
    if len(widths) > 1:
        assert flops(dense, (INPUTS,)) > by_hand


def test_a_folded_prefix_holds_one_head():
    """Storage is compared too: the heads that were folded must not count any more."""
    ensemble = build_ensemble([(4, "dense", True), (5, "dense", True)])
    bodies = (INPUTS + 1) * (4 + 5)
    assert parameters(FoldedPrefix(ensemble, 2)) == bodies + (4 + 5 + 1) * OUTPUTS
    assert parameters(FoldedPrefix(ensemble, 1)) == (INPUTS + 1) * 4 + (4 + 1) * OUTPUTS


def test_the_head_of_a_hidden_state_is_the_sum_of_those_that_read_it():
    ensemble = build_ensemble([(2, "dense", True), (3, "dense", True), (1, "none", True)])
    first, second, third = (student.head for student in ensemble)
    weight, bias = folded_head(ensemble, 3)
    torch.testing.assert_close(weight[:, :2], first.weight + second.weight[:, :2])
    torch.testing.assert_close(weight[:, 2:5], second.weight[:, 2:])
    torch.testing.assert_close(weight[:, 5:], third.weight)
    torch.testing.assert_close(bias, first.bias + second.bias + third.bias)


@property_test
@given(st.lists(st.booleans(), min_size=1, max_size=8), seeds)
def test_shares_weigh_the_logits_as_the_average_does(skips, seed):
    logits = np.random.default_rng(seed).normal(size=len(skips))
    functions = []
    for stage, (skip, value) in enumerate(zip(skips, logits, strict=True), start=1):
        functions.append(
            (np.mean(functions) if functions else 0) + stage * value if skip else value
        )
    assert np.dot(logit_shares(skips), logits) == pytest.approx(np.mean(functions), abs=1e-9)


def test_folding_leaves_the_ensemble_as_it_was():
    ensemble = build_ensemble(DIGITS)
    x = torch.from_numpy(random_array(0, 9, INPUTS))
    before, state = ensemble(x), {k: v.clone() for k, v in ensemble.state_dict().items()}
    FoldedPrefix(ensemble, 2)
    assert torch.equal(ensemble(x), before)
    assert all(torch.equal(value, state[key]) for key, value in ensemble.state_dict().items())
