"""Candidates that are compared while they train: cut ones end there, the others do not notice."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_students import build, quick, toy_round

from bdistil.core.cohort import Member, find_weak_learners
from bdistil.core.find_weak_learner import Finding, find_weak_learner
from bdistil.core.milestones import Cut, Milestones
from bdistil.errors import SearchError


@given(st.integers(1, 300), st.floats(0.01, 0.9), st.integers(2, 5))
def test_milestones_lie_within_the_schedule_and_each_further_than_the_last(epochs, first, factor):
    steps = Milestones(first, factor, lambda step, losses: []).steps(epochs)
    assert list(steps) == sorted(steps)
    assert list(steps.values()) == sorted(set(steps.values()))
    assert all(1 <= done < epochs for done in steps)


def test_milestones_are_shares_of_the_schedule():
    milestones = Milestones(0.125, 2, lambda step, losses: [])
    assert milestones.steps(40) == {5: 1, 10: 2, 20: 4}
    assert milestones.steps(1) == {}


def test_a_candidate_that_is_not_cut_ends_as_without_milestones():
    torch.manual_seed(0)
    student, state, seen = build(5), toy_round(), []
    other = copy.deepcopy(student)

    def cut(step, losses):
        seen.append((step, losses[0]))
        return []

    settings = quick("accurate", epochs=8)
    found = find_weak_learner(student, state, settings, milestones=Milestones(0.25, 2, cut))
    plain = find_weak_learner(other, state, settings)
    assert dataclasses.replace(found, seconds=0, milestones=()) == dataclasses.replace(
        plain, seconds=0
    )
    assert [epochs for epochs, _ in found.milestones] == [2, 4]
    assert seen == [(step, loss) for step, (_, loss) in zip([1, 2], found.milestones, strict=True)]


def test_a_cut_candidate_trains_no_further_and_tells_its_gain():
    state = toy_round()
    milestones = Milestones(0.25, 2, lambda step, losses: losses if step == 2 else [])
    found = find_weak_learner(build(5), state, quick("accurate", epochs=8), milestones=milestones)
    assert isinstance(found, Cut)
    assert [epochs for epochs, _ in found.losses] == [2, 4]
    assert found.gain == pytest.approx(1 - found.losses[-1][1] / state.baseline)


def crowd(**changes):
    found = []
    for index in range(4):
        torch.manual_seed(index)
        own = {"lr": 0.005 * (index + 1), "weight_decay": 0.1 * index, "gamma": 3 + index}
        settings = quick("accurate", epochs=8, **changes)
        found.append(Member(build(5, "none", settings.skip), dataclasses.replace(settings, **own)))
    return found


@pytest.mark.parametrize("changes", [{}, {"correction": "bounded", "correction_bound": 1e-3}])
def test_members_of_a_cohort_end_as_if_the_cut_ones_trained_on(changes):
    state, members = toy_round(), crowd(**changes)
    whole = copy.deepcopy(members)

    def cut(step, losses):
        assert list(losses) == [[0, 1, 2, 3], [0, 2, 3]][step - 1]
        return [1] if step == 1 else [0]

    found = find_weak_learners(members, state, milestones=Milestones(0.25, 2, cut))
    plain = find_weak_learners(whole, state)
    assert [type(each) for each in found] == [Cut, Cut, Finding, Finding]
    assert [each.losses[-1][0] for each in found[:2]] == [4, 2]
    x = state.validation.inputs
    for index in (2, 3):
        assert found[index].loss == pytest.approx(plain[index].loss, abs=1e-4)
        ours, theirs = members[index].student(x, [])[0], whole[index].student(x, [])[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_a_cohort_may_be_cut_whole_and_a_diverging_member_is_not_compared():
    members = crowd()
    wild = dataclasses.replace(members[1].recipe, lr=1e30)
    members[1] = dataclasses.replace(members[1], recipe=wild)
    found = find_weak_learners(
        members, toy_round(), milestones=Milestones(0.25, 2, lambda step, losses: losses)
    )
    assert [type(each) for each in found] == [Cut, SearchError, Cut, Cut]
