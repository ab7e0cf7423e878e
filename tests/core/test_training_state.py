"""Training that goes on from a state ends as if it had never been interrupted, to the bit."""

import copy
import dataclasses
import json

import pytest
import torch
from tiny_students import CONNECTIONS, build, quick, rules_for, toy_round, trained_alike
from torch import nn

from bdistil.core import step
from bdistil.core.cohort import Member, find_weak_learners
from bdistil.core.examples import Examples, Measure
from bdistil.core.find_weak_learner import Finding, find_weak_learner
from bdistil.core.milestones import Cut, Milestones
from bdistil.core.one_by_one import find_one_by_one
from bdistil.core.round import Round
from bdistil.core.student import Student, StudentConfig
from bdistil.core.training_split import TrainingSplit
from bdistil.core.training_state import GPU_RANDOM, StateError, TrainingState
from bdistil.core.views import ViewMaker, Views
from bdistil.errors import SearchError
from bdistil.spec.views import ViewSpec


class Kept(list):
    """Every state, with its values as a file gives them back."""

    def __call__(self, take):
        state = take()
        self.append(dataclasses.replace(state, values=json.loads(json.dumps(state.values))))


class Dropped(nn.Module):
    """A body with buffers, and with noise from torch's own generator."""

    def __init__(self):
        super().__init__()
        self.features = 4
        self.layers = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.3))

    def forward(self, x):
        return self.layers(x)


def timeless(ended):
    return dataclasses.replace(ended, seconds=0) if isinstance(ended, (Finding, Cut)) else ended


def same_weights(ours, theirs):
    theirs = theirs.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())


def check_goes_on(student, state, settings, **options):
    """From each state, in a fresh trainer, the same student and the same figures."""
    fresh, kept = copy.deepcopy(student), Kept()
    torch.manual_seed(7)
    whole = find_weak_learner(student, state, settings, seed=3, keep=kept, **options)
    assert kept
    for earlier in kept:
        other = copy.deepcopy(fresh)
        torch.manual_seed(8)
        found = find_weak_learner(other, state, settings, seed=3, earlier=earlier, **options)
        assert timeless(found) == timeless(whole)
        assert same_weights(other, student)
    return kept


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("name", ["accurate", "paper"])
def test_a_student_goes_on_from_each_epoch(name, connection):
    state = toy_round([trained_alike(build(4))], normalisation=quick(name).normalisation)
    settings = quick(name, connection=connection, epochs=5, weight_decay=0.1)
    kept = check_goes_on(build(5, connection, settings.skip, (4,)), state, settings)
    assert [each.epochs for each in kept] == [1, 2, 3, 4]  # of the last the student is kept


@pytest.mark.parametrize(
    "changes",
    [
        {"own_loss": 0.7},
        {"precision": "bf16"},
        {"distillation": "squared_p", "correction": "bounded", "correction_bound": 1e-3},
    ],
    ids=str,
)
def test_own_heads_precision_and_corrections_are_part_of_it(changes):
    state = toy_round([trained_alike(build(4))])
    settings = quick("accurate", connection="dense", epochs=4, **changes)
    check_goes_on(build(5, "dense", settings.skip, (4,)), state, settings)


def test_buffers_and_dropout_are_part_of_it():
    student = Student(StudentConfig("dropped", 4, "none", True), Dropped(), 3, ())
    check_goes_on(student, toy_round(), quick("accurate", connection="none", epochs=4))


def test_early_accept_centres_the_head_on_both_ways():
    state = toy_round([trained_alike(build(4))])
    settings = quick("accurate", connection="dense", epochs=6, early_accept=True)
    check_goes_on(build(5, "dense", settings.skip, (4,)), state, settings, min_edge=1e9)


def test_copies_are_shown_in_the_order_of_the_epochs():
    x, teacher = torch.randn(60, 6), torch.randn(60, 3)
    views = Views(ViewMaker(ViewSpec(copies=3, noise=0.5), 0, 0, 60), torch.randn(3, 60, 3).half())
    part = Examples.before_round_one(x, teacher, torch.arange(60) % 3, views)
    split = TrainingSplit.before_round_one([part], rules_for(teacher, "joint", 0.05))
    validation = Examples.before_round_one(x, teacher, torch.arange(60) % 3)
    state = Round.of(split, validation, Measure("classification", 0.5))
    check_goes_on(build(5, "none", True), state, quick("accurate", connection="none", epochs=5))


def test_compiled_training_goes_on(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(step, "COMPILED", step.CompiledStep(backend))
    settings = quick("accurate", connection="none", epochs=4)
    check_goes_on(build(5, "none", True), toy_round(), settings, compiled=True)
    assert graphs


def test_a_state_of_a_gpu_is_one_of_a_cpu_too():
    state, settings, kept = toy_round(), quick("accurate", connection="none", epochs=3), Kept()
    find_weak_learner(build(5, "none", True), state, settings, keep=kept)
    moved = {**kept[0].tensors, GPU_RANDOM: torch.zeros(16, dtype=torch.uint8)}
    earlier = dataclasses.replace(kept[0], tensors=moved)
    assert find_weak_learner(build(5, "none", True), state, settings, earlier=earlier)


def test_seconds_are_those_of_both_parts():
    state, settings, kept = toy_round(), quick("accurate", connection="none", epochs=3), Kept()
    find_weak_learner(build(5, "none", True), state, settings, keep=kept)
    earlier = dataclasses.replace(kept[1], seconds=1000.0)
    found = find_weak_learner(build(5, "none", True), state, settings, earlier=earlier)
    assert 1000 < found.seconds < 1000 + 60


def test_milestones_that_lie_behind_are_told_again_but_cut_nobody():
    state, settings = toy_round(), quick("accurate", connection="none", epochs=8)
    told, student = [], build(5, "none", True)

    def note(step, losses):
        told.append((step, losses[0]))
        return []

    kept = check_goes_on(student, state, settings, milestones=Milestones(0.25, 2, note))
    whole = told[:2]
    assert [step for step, _ in whole] == [1, 2]
    assert told == whole * (1 + len(kept))  # before or after, each saw the same
    harsh = Milestones(0.25, 2, lambda step, losses: [0])
    found = find_weak_learner(
        build(5, "none", True), state, settings, milestones=harsh, earlier=kept[4]
    )
    assert isinstance(found, Finding)


def crowd(**changes):
    found = []
    for index in range(4):
        torch.manual_seed(index)
        own = {"lr": 0.005 * (index + 1), "weight_decay": 0.1 * index, "gamma": 3 + index}
        settings = quick("accurate", epochs=8, connection="dense", **changes)
        student = build(5, "dense", settings.skip, (4,))
        found.append(Member(student, dataclasses.replace(settings, **own)))
    return found


@pytest.mark.parametrize("changes", [{}, {"own_loss": 0.7}], ids=str)
@pytest.mark.parametrize("cuts", [False, True])
def test_a_cohort_goes_on_with_those_that_were_in(changes, cuts):
    state, members, kept = toy_round([trained_alike(build(4))]), crowd(**changes), Kept()
    wild = dataclasses.replace(members[3].recipe, lr=1e30)
    if cuts:
        members[3] = dataclasses.replace(members[3], recipe=wild)
    fresh = copy.deepcopy(members)
    milestones = Milestones(0.25, 2, lambda step, losses: [1] if cuts and step == 1 else [])
    whole = find_weak_learners(members, state, seed=3, milestones=milestones, keep=kept)
    kinds = [Finding, Cut, Finding, SearchError] if cuts else [Finding] * 4
    assert [type(each) for each in whole] == kinds
    assert [each.epochs for each in kept] == [1, 2, 3, 4, 5, 6, 7]
    for earlier in kept:
        others = copy.deepcopy(fresh)
        found = find_weak_learners(others, state, seed=3, milestones=milestones, earlier=earlier)
        for ours, theirs, one, other in zip(found, whole, others, members, strict=True):
            if isinstance(theirs, SearchError):
                assert str(ours) == str(theirs)
                continue
            assert timeless(ours) == timeless(theirs)
            assert isinstance(ours, Cut) or same_weights(one.student, other.student)


@pytest.mark.parametrize("early", [False, True])
def test_members_that_train_one_by_one_go_on_with_the_one_that_was_training(early):
    state, kept = toy_round([trained_alike(build(4))]), Kept()
    members = crowd(early_accept=early)[:3]
    seeds, told = [3, 4, 5], []

    def cut(step, losses):
        told.append((step, *losses))
        return losses if step == 2 and 1 in losses else []

    options = {"min_edge": 1e9, "milestones": Milestones(0.25, 2, cut)}
    fresh = copy.deepcopy(members)
    whole = find_one_by_one(members, state, seeds, keep=kept, **options)
    assert [type(each) for each in whole] == [Finding, Cut, Finding]
    assert [each.epochs for each in kept] == [*range(1, 8), *range(1, 4), *range(1, 8)]
    seconds = [each.seconds for each in kept]
    assert seconds == sorted(seconds)
    asked = list(told)
    for earlier in kept:
        others = copy.deepcopy(fresh)
        told.clear()
        found = find_one_by_one(others, state, seeds, earlier=earlier, **options)
        assert [timeless(each) for each in found] == [timeless(each) for each in whole]
        assert told == asked
        for one, other in zip(others, members, strict=True):
            assert one is others[1] or same_weights(one.student, other.student)


def test_a_state_of_another_training_is_refused_and_changes_nothing():
    state, settings, kept = toy_round(), quick("accurate", connection="none", epochs=4), Kept()
    find_weak_learner(build(5, "none", True), state, settings, keep=kept)
    student = build(6, "none", True)
    before = copy.deepcopy(student)
    with pytest.raises(StateError, match=r"model\.body\.linear\.bias is torch.float32 \[5\], not"):
        find_weak_learner(student, state, settings, earlier=kept[0])
    assert same_weights(student, before)
    longer = dataclasses.replace(settings, epochs=5)
    with pytest.raises(StateError, match=r"of \d+ steps, not"):
        find_weak_learner(build(5, "none", True), state, longer, earlier=kept[0])
    torn = dict(kept[0].tensors)
    torn["random.shuffle"] = torch.zeros_like(torn["random.shuffle"])
    spoilt = TrainingState(1, 1.0, torn, kept[0].values)
    with pytest.raises(StateError, match="random generator"):
        find_weak_learner(build(5, "none", True), state, settings, earlier=spoilt)
