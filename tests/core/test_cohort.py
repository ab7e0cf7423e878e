"""A cohort gives what its members give one by one, in less time."""

import copy
import dataclasses

import pytest
import torch
from tiny_students import CONNECTIONS, build, quick, toy_round, trained_alike
from torch import nn

from bdistil.core.cohort import Member, find_weak_learners, vectorises
from bdistil.core.find_weak_learner import Finding, find_weak_learner
from bdistil.core.recipes import recipe
from bdistil.core.stacked import StackedAdamW
from bdistil.core.student import Student, StudentConfig
from bdistil.errors import SearchError


def crowd(name, connection, earlier, count=4, **changes):
    found = []
    for index in range(count):
        torch.manual_seed(index)
        settings = quick(name, connection=connection, **changes)
        own = dataclasses.replace(
            settings, gamma=0.5 + index, lr=0.005 * (index + 1), weight_decay=0.1 * index
        )
        found.append(Member(build(5, connection, settings.skip, earlier), own, attempt=index))
    return found


@pytest.mark.parametrize("name", ["accurate", "faithful", "paper"])
@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("stage", [1, 2])
def test_members_end_as_they_would_one_by_one(name, connection, stage):
    students = [trained_alike(build(4))] * (stage - 1)
    state = toy_round(students, normalisation=quick(name).normalisation)
    members = crowd(name, connection, (4,) * (stage - 1))
    alone = copy.deepcopy(members)
    findings = find_weak_learners(members, state, seed=3)
    x, earlier = state.validation.inputs, state.validation.earlier
    for member, other, finding in zip(members, alone, findings, strict=True):
        expected = find_weak_learner(
            other.student, state, other.recipe, attempt=other.attempt, seed=3
        )
        ours, theirs = member.student(x, earlier)[0], other.student(x, earlier)[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
        assert finding.loss == pytest.approx(expected.loss, abs=1e-4)
        assert finding.edge == pytest.approx(expected.edge, abs=1e-4)
        assert finding.epochs == expected.epochs
    logits = [member.student(x, earlier)[0] for member in members]
    assert (logits[0] - logits[1]).abs().max() > 1e-3  # the members did not share their settings


@pytest.mark.parametrize("stage", [1, 3])
def test_members_end_as_one_by_one_after_the_whole_schedule(stage):
    # One ulp in the initial weights moves these logits as much as training together does.
    students = []
    for width in range(5, 5 + stage - 1):
        students.append(trained_alike(build(width, "dense", True, [s.features for s in students])))
    state = toy_round(students, examples=512)
    members = []
    for index, (lr, gamma) in enumerate([(0.01, 3), (0.02, 10), (0.03, 20), (0.04, 30)]):
        torch.manual_seed(index)
        own = dataclasses.replace(recipe("accurate"), lr=lr, gamma=gamma)
        members.append(Member(build(5, "dense", True, [s.features for s in students]), own))
    alone = copy.deepcopy(members)
    find_weak_learners(members, state, seed=3)
    x, earlier = state.validation.inputs, state.validation.earlier
    for member, other in zip(members, alone, strict=True):
        find_weak_learner(other.student, state, other.recipe, seed=3)
        ours, theirs = member.student(x, earlier)[0], other.student(x, earlier)[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_a_diverging_member_fails_alone():
    members = crowd("accurate", "none", ())
    wild = dataclasses.replace(members[1].recipe, lr=1e30)
    members[1] = dataclasses.replace(members[1], recipe=wild)
    findings = find_weak_learners(members, toy_round())
    assert isinstance(findings[1], SearchError)
    assert all(isinstance(finding, Finding) for finding in findings[:1] + findings[2:])


@pytest.mark.parametrize("batches", [2, 6])  # six are all of them: it stops while it is judged
def test_a_cohort_stops_within_a_batch(batches):
    members = crowd("accurate", "dense", (), batch_size=64, epochs=2)
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > batches

    assert find_weak_learners(members, toy_round(), should_stop=should_stop) is None
    assert len(asked) == batches + 1


class Normalised(nn.Module):
    """A body with buffers that training changes."""

    def __init__(self, features):
        super().__init__()
        self.features = features
        self.layers = nn.Sequential(
            nn.Linear(6, features, bias=False), nn.BatchNorm1d(features), nn.GELU()
        )

    def forward(self, x):
        return self.layers(x)


def test_buffers_are_trained_too():
    state, settings = toy_round(), quick("accurate", connection="none")
    config = StudentConfig("normalised", 4, "none", True)
    students = [Student(config, Normalised(4), 3, ()) for _ in range(2)]
    alone = copy.deepcopy(students)
    assert vectorises(students[0], state)
    find_weak_learners([Member(student, settings) for student in students], state, seed=3)
    for ours, theirs in zip(students, alone, strict=True):
        find_weak_learner(theirs, state, settings, seed=3)
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


class Recurrent(nn.Module):
    """A body that torch cannot stack."""

    def __init__(self):
        super().__init__()
        self.features = 3
        self.cell = nn.GRU(6, 3, batch_first=True)

    def forward(self, x):
        return self.cell(x[:, None])[0][:, -1]


def test_an_architecture_that_does_not_vectorise_is_recognised():
    state = toy_round()
    recurrent = Student(StudentConfig("gru", 3, "none", True), Recurrent(), 3, ())
    assert vectorises(build(4), state)
    assert not vectorises(recurrent, state)


def test_stacked_adamw_follows_torch():
    torch.manual_seed(0)
    start = torch.randn(3, 7)
    rates, decays, steps = [0.1, 0.02, 0.5], [0.0, 0.3, 0.05], 12
    gradients = torch.randn(steps, 3, 7)
    ours = start.clone()
    stacked = StackedAdamW(
        ours, lr=torch.tensor(rates), weight_decay=torch.tensor(decays), steps=steps
    )
    for gradient in gradients:
        stacked.step(gradient)
    for row in range(3):
        weight = nn.Parameter(start[row].clone())
        optimiser = torch.optim.AdamW([weight], lr=rates[row], weight_decay=decays[row])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for gradient in gradients:
            weight.grad = gradient[row]
            optimiser.step()
            schedule.step()
        torch.testing.assert_close(ours[row], weight.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("correction", ["none", "orthogonal", "bounded", "minimax_power"])
def test_members_may_differ_in_the_bound_of_their_correction(correction):
    state = toy_round([trained_alike(build(4))])
    changes = {"distillation": "squared_p", "correction": correction}
    members = [
        dataclasses.replace(m, recipe=dataclasses.replace(m.recipe, correction_bound=c))
        for m, c in zip(crowd("accurate", "dense", (4,), 2, **changes), (1e-3, 1.0), strict=True)
    ]
    alone = copy.deepcopy(members)
    findings = find_weak_learners(members, state, seed=3)
    for other, finding in zip(alone, findings, strict=True):
        expected = find_weak_learner(
            other.student, state, other.recipe, attempt=other.attempt, seed=3
        )
        assert finding.loss == pytest.approx(expected.loss, abs=1e-4)


def test_members_with_a_second_head_train_as_they_do_alone():
    state = toy_round([trained_alike(build(4))])
    members = crowd("accurate", "dense", (4,), 2, own_loss=0.7)
    alone = copy.deepcopy(members)
    findings = find_weak_learners(members, state, seed=3)
    for member, other, finding in zip(members, alone, findings, strict=True):
        expected = find_weak_learner(
            other.student, state, other.recipe, attempt=other.attempt, seed=3
        )
        assert finding.loss == pytest.approx(expected.loss, abs=1e-4)
        assert member.student.state_dict().keys() == other.student.state_dict().keys()
