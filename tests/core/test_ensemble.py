"""The ensemble is the uniform average of its students, whatever they are made of."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from tiny_students import (
    INPUTS,
    OUTPUTS,
    build_ensemble,
    layouts,
    property_test,
    random_array,
    seeds,
    students_alone,
)

from bdistil.core.examples import Examples
from bdistil.core.progressive_ensemble import hidden_states

THREE = [(4, "dense", True), (3, "lstm", False), (5, "dense", True)]


def inputs(seed=0, examples=9):
    return torch.from_numpy(random_array(seed, examples, INPUTS))


@property_test
@given(layouts, seeds)
def test_each_stage_is_the_uniform_average_of_its_students(layout, seed):
    ensemble, x = build_ensemble(layout, seed), inputs(seed)
    functions = students_alone(ensemble, x)
    stages = list(ensemble.stages(x))
    assert len(stages) == len(ensemble) == len(layout)
    for stage, logits in enumerate(stages, start=1):
        average = np.mean(functions[:stage], axis=0)
        np.testing.assert_allclose(logits.detach().numpy(), average, rtol=1e-4, atol=1e-5)
        assert torch.equal(ensemble(x, stage), logits)


def test_stages_are_lazy_and_run_each_body_once():
    ensemble = build_ensemble(THREE)

    def calls():
        return [student.body.calls for student in ensemble]

    stages = ensemble.stages(inputs())
    assert calls() == [0, 0, 0]
    for expected in ([1, 0, 0], [1, 1, 0], [1, 1, 1]):
        next(stages)
        assert calls() == expected
    assert next(stages, None) is None
    assert calls() == [1, 1, 1]
    ensemble(inputs(), stages=2)
    assert calls() == [2, 2, 1]


@property_test
@given(layouts, seeds)
def test_examples_follow_the_ensemble(layout, seed):
    ensemble, x = build_ensemble(layout, seed), inputs(seed)
    start = Examples.before_round_one(x, torch.zeros(9, OUTPUTS), None)
    after = start.after(ensemble)
    with torch.no_grad():
        steps = list(ensemble.steps(x))
    torch.testing.assert_close(after.ensemble, steps[-1][0], rtol=1e-5, atol=1e-5)
    assert after.stage == len(layout) + 1
    assert start.stage == 1  # the old round is untouched
    for ours, (_, theirs) in zip(after.earlier, steps, strict=True):
        torch.testing.assert_close(ours.features, theirs.features)
        assert (ours.memory is None) == (theirs.memory is None)
    one_by_one = start
    for student in ensemble:
        one_by_one = one_by_one.joined(student)
    assert torch.equal(one_by_one.ensemble, after.ensemble)


def test_joining_resumes_where_the_examples_are():
    ensemble = build_ensemble(THREE)
    start = Examples.before_round_one(inputs(), torch.zeros(9, OUTPUTS), None)
    partly = start.joined(next(iter(ensemble)))
    assert torch.equal(partly.after(ensemble).ensemble, start.after(ensemble).ensemble)
    assert [student.body.calls for student in ensemble] == [2, 2, 2]
    assert partly.after(ensemble).after(ensemble).stage == 4


def test_examples_move_with_everything_they_hold():
    teacher, labels = torch.from_numpy(random_array(3, 9, OUTPUTS)), torch.arange(9) % OUTPUTS
    ours = Examples.before_round_one(inputs(), teacher, labels).after(build_ensemble(THREE))
    moved = ours.to("meta")
    assert moved.stage == ours.stage
    assert [state.memory is None for state in moved.earlier] == [True, False, True]
    states = [tensor for state in moved.earlier for tensor in state if tensor is not None]
    for tensor in (moved.inputs, moved.teacher_logits, moved.labels, moved.ensemble, *states):
        assert tensor.device.type == "meta"
    assert dataclasses.replace(ours, labels=None).to("meta").labels is None


@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_hidden_states_do_not_depend_on_the_batches(batch_size):
    ensemble, x, earlier = build_ensemble(THREE), inputs(), []
    for student in ensemble:
        whole, whole_state = student(x, earlier)
        logits, state = hidden_states(student, x, earlier, batch_size)
        torch.testing.assert_close(logits, whole)
        torch.testing.assert_close(state.features, whole_state.features)
        assert (state.memory is None) == (whole_state.memory is None)
        assert not logits.requires_grad
        earlier.append(state)


def test_the_order_of_students_is_the_order_of_stages():
    ensemble = build_ensemble([(4, "none", True), (3, "none", True)])
    first, second = (student(inputs(), [])[0] for student in ensemble)
    assert ensemble.features == (4, 3)
    for ours, expected in itertools.zip_longest(ensemble.stages(inputs()), (first, first + second)):
        torch.testing.assert_close(ours, expected)
