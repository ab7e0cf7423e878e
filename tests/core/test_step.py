"""Steps in bf16 and compiled: the same method, other products."""

import copy
import dataclasses
import warnings

import pytest
import torch
from tiny_students import build, quick, toy_round, trained_alike

from bdistil.core import step
from bdistil.core.cohort import Member, find_weak_learners
from bdistil.core.find_weak_learner import find_weak_learner
from bdistil.core.objective import Objective
from bdistil.core.step import CompiledStep, step_loss


@pytest.fixture
def second_round():
    return toy_round([trained_alike(build(4))])


def candidates(settings, count):
    found = []
    for index in range(count):
        torch.manual_seed(index)
        own = dataclasses.replace(settings, lr=0.02 * (index + 1), gamma=5.0 + index)
        found.append(Member(build(5, "dense", True, (4,)), own))
    return found


def logits_of(member, state):
    with torch.no_grad():
        return member.student(state.validation.inputs, state.validation.earlier)[0]


def recorded(monkeypatch, name):
    """The results of a function of the step module."""
    seen, function = [], getattr(step, name)
    monkeypatch.setattr(step, name, lambda *a: seen.append(function(*a)) or seen[-1])
    return seen


@pytest.mark.parametrize("stacked", [False, True])
def test_a_candidate_trained_in_bf16_becomes_a_weak_learner(second_round, stacked, monkeypatch):
    losses = recorded(monkeypatch, "step_loss")
    settings = quick("accurate", precision="bf16", epochs=40)
    members, exact = candidates(settings, 2), candidates(quick("accurate", epochs=40), 2)
    if stacked:
        findings = find_weak_learners(members, second_round)
    else:
        findings = [find_weak_learner(m.student, second_round, m.recipe) for m in members]
    for member, reference, finding in zip(members, exact, findings, strict=True):
        assert finding.is_weak_learner(min_edge=0, min_gain=0)
        find_weak_learner(reference.student, second_round, reference.recipe)
        ours, theirs = logits_of(member, second_round), logits_of(reference, second_round)
        assert ours.dtype == torch.float32
        assert 1e-4 < (ours - theirs).abs().max() < 0.2 * theirs.abs().max()
        assert {p.dtype for p in member.student.parameters()} == {torch.float32}
    assert {loss.dtype for loss in losses} == {torch.float32}


def test_bf16_is_for_the_students_products_alone(second_round):
    seen = {}

    class Spy(Objective):
        def loss(self, logits, batch, weight, own_logits=None):
            seen.update(
                logits=logits, preference=batch.preference, teacher=batch.examples.teacher_logits
            )
            loss = super().loss(logits, batch, weight, own_logits)
            seen["autocast"] = torch.is_autocast_enabled("cpu")
            return loss

    student = trained_alike(build(5, "dense", True, (4,)))
    objective = Spy(second_round, quick("accurate", precision="bf16"), True)
    batch = objective.batch(second_round.train.shards[0], torch.arange(64))
    loss = step_loss(student, objective, batch, 0.1)
    assert not seen.pop("autocast")
    assert {tensor.dtype for tensor in (loss, *seen.values())} == {torch.float32}
    exact = student(batch.examples.inputs, batch.examples.earlier)[0]
    assert 0 < (seen["logits"] - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.fixture
def traced(monkeypatch):
    """torch.compile without a C++ compiler; gives the number of graphs that were compiled."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(step, "COMPILED", CompiledStep(backend))
    return graphs


@pytest.mark.parametrize("stacked", [False, True])
def test_compiled_candidates_are_the_same(second_round, traced, stacked):
    members = candidates(quick("accurate", batch_size=100, epochs=2), 2)
    exact, names = copy.deepcopy(members), [*members[0].student.state_dict()]
    if stacked:
        findings = find_weak_learners(members, second_round, compiled=True)
    else:
        findings = [
            find_weak_learner(m.student, second_round, m.recipe, compiled=True) for m in members
        ]
    for member, reference, finding in zip(members, exact, findings, strict=True):
        expected = find_weak_learner(reference.student, second_round, reference.recipe)
        ours, theirs = logits_of(member, second_round), logits_of(reference, second_round)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
        assert finding.edge == pytest.approx(expected.edge, abs=1e-4)
        assert [*member.student.state_dict()] == names
    assert traced


def test_candidates_of_a_class_share_what_was_compiled(second_round, traced):
    members = candidates(quick("accurate", batch_size=100, epochs=1), 4)
    counts = []
    for member in members:
        find_weak_learner(member.student, second_round, member.recipe, compiled=True)
        counts.append(len(traced))
    assert counts == [counts[0]] * 4
    assert counts[0] > 0


ONE_BATCH = {"batch_size": 10_000, "epochs": 2}  # each shape of a batch is compiled anew


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stacked", "changes"),
    [
        (True, ONE_BATCH),
        pytest.param(True, {}, marks=pytest.mark.nightly),
        pytest.param(False, {}, marks=pytest.mark.nightly),
    ],
)
def test_torch_inductor_gives_the_same_candidates(second_round, stacked, changes):
    members = candidates(quick("accurate", **changes), 2)
    exact = copy.deepcopy(members)
    if stacked:
        find_weak_learners(members, second_round, compiled=True)
    else:
        for member in members:
            find_weak_learner(member.student, second_round, member.recipe, compiled=True)
    for member, reference in zip(members, exact, strict=True):
        find_weak_learner(reference.student, second_round, reference.recipe)
        ours, theirs = logits_of(member, second_round), logits_of(reference, second_round)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_where_compiling_fails_training_goes_on_after_one_sentence(second_round, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no working compiler")

    torch._dynamo.reset()
    monkeypatch.setattr(step, "COMPILED", CompiledStep(backend))
    (member, other), exact = (candidates(quick("accurate"), 2) for _ in range(2))
    with pytest.warns(UserWarning, match=r"workers\.compile is true, .*install a C\+\+") as caught:
        find_weak_learner(member.student, second_round, member.recipe, compiled=True)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_weak_learner(other.student, second_round, other.recipe, compiled=True)
    find_weak_learner(exact[0].student, second_round, exact[0].recipe)
    assert torch.equal(logits_of(member, second_round), logits_of(exact[0], second_round))
