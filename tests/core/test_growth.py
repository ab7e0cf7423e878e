"""Widths that fit a budget, and what a student adds to a folded prefix."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_students import OUTPUTS, build, property_test
from torch import nn

from bdistil.core.growth import folded_flops, widest
from bdistil.core.student import Student, StudentConfig
from bdistil.errors import SpecError


class Recurrent(nn.Module):
    """A body of one recurrent layer over (B, time, channels)."""

    def __init__(self, layer, features):
        super().__init__()
        self.features = features
        self.layer = layer(3, features, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


costs = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@property_test
@given(costs, st.integers(-5, 400), st.integers(1, 20), st.integers(1, 50))
def test_widest_is_what_a_linear_scan_finds(increments, budget, least, slope):
    def cost(width):
        """Grows, in steps that may be zero, and at last with `slope`."""
        known = sum(increments[: max(width, 0)])
        return known + slope * max(0, width - len(increments))

    expected, width = least, least + 1
    while cost(width) <= budget:
        expected, width = width, width + 1
    assert widest(cost, budget, least) == expected


def test_the_least_width_is_returned_even_if_it_costs_more():
    assert widest(lambda width: 10.0 * width, budget=5) == 1
    assert widest(lambda width: 10.0 * width, budget=5, least=7) == 7


def test_widest_asks_for_few_widths():
    asked = []
    assert widest(lambda width: asked.append(width) or width, budget=10**6) == 10**6
    assert len(asked) < 50


@pytest.mark.parametrize("cost", [lambda width: 5, lambda width: min(width, 1)])
def test_a_cost_that_does_not_grow_is_refused(cost):
    with pytest.raises(
        SpecError, match=r"space\.student is flat, .*width 1,000,000 than at 1, .*grow"
    ):
        widest(cost, budget=6, kind="flat")


def test_widths_end_at_a_million():
    assert widest(lambda width: width, budget=math.inf) == 10**6
    assert widest(lambda width: width, budget=10**6 - 1) == 10**6 - 1
    assert widest(lambda width: width, budget=10**9, least=3 * 10**6) == 3 * 10**6


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_bodies_are_counted_on_every_device(layer, gates, device):
    with torch.device(device):
        student = Student(StudentConfig("rnn", 5, "dense", True), Recurrent(layer, 5), OUTPUTS, ())
    by_hand = 7 * 2 * gates * (3 * 5 + 5 * 5) + 2 * 5 * OUTPUTS
    assert folded_flops(student, (7, 3), ()) == by_hand


def test_counting_leaves_the_student_alone():
    student = build(4, "lstm", True, (3,))
    before = copy.deepcopy(student.state_dict())
    folded_flops(student, (6,), (3,))
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_wider_students_cost_more():
    added = [folded_flops(build(w, "gru", True, (3,)), (6,), (3,)) for w in range(1, 9)]
    assert added == sorted(set(added))
