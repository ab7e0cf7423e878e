"""FIND_WL on a toy problem: it learns, repeats, stops, fails loudly and judges fairly."""

import dataclasses
import itertools
import math
import re

import numpy as np
import pytest
import torch
from tiny_students import (
    CONNECTIONS,
    OUTPUTS,
    build,
    cut,
    quick,
    random_array,
    rules_for,
    toy_round,
    trained_alike,
    whole,
)
from torch import nn

from bdistil.core.examples import Examples, Measure
from bdistil.core.find_weak_learner import (
    Finding,
    find_weak_learner,
)
from bdistil.core.round import Round
from bdistil.core.trainer import shuffled_batches
from bdistil.core.training_split import TrainingSplit
from bdistil.errors import SearchError
from bdistil.names import RECIPE_NAMES


def first_student(seed=0, connection="dense", skip=True):
    torch.manual_seed(seed)
    return build(8, connection, skip)


def search(recipe, rounds, **arguments):
    """Students found one round after another, with their findings."""
    students, findings = [], []
    for _ in range(rounds):
        earlier = [student.features for student in students]
        torch.manual_seed(len(students))
        student = build(8, recipe.connection, recipe.skip, earlier)
        state = toy_round(students, normalisation=recipe.normalisation)
        findings.append(find_weak_learner(student, state, recipe, **arguments))
        students.append(student)
    return students, findings


@pytest.mark.parametrize("shards", [1, 3])
def test_four_tries_a_round_find_weak_learners_that_improve_the_ensemble(shards):
    recipe = quick("accurate", epochs=20, batch_size=32)
    students, losses = [], []
    for _ in range(3):
        state = toy_round(students, examples=768, shards=shards)
        for attempt in range(4):
            torch.manual_seed(attempt)
            student = build(4, recipe.connection, recipe.skip, (4,) * len(students))
            finding = find_weak_learner(student, state, recipe, attempt=attempt)
            if finding.is_weak_learner(min_edge=0, min_gain=0):
                break
        assert finding.edge >= 0
        assert finding.gain > 0
        assert finding.epochs == 20
        students.append(student)
        losses.append(finding.loss)
    assert all(before > after for before, after in itertools.pairwise(losses))
    assert finding.relative_edge > 0
    assert finding.metric > 0.8


def test_figures_are_those_of_the_ensemble_with_the_candidate():
    recipe = quick("faithful")
    before = [trained_alike(build(4))]
    state = toy_round(before)
    student = build(5, "dense", True, (4,))
    finding = find_weak_learner(student, state, recipe)

    x, train = state.validation.inputs, whole(state.train)
    with torch.no_grad():
        logits = state.validation.ensemble + student(x, state.validation.earlier)[0]
        own = train.ensemble + 2 * student(train.inputs, train.earlier)[0]
    old = state.measure.loss(state.validation.ensemble, state.validation)
    new = state.measure.loss(logits, state.validation)
    assert finding.loss == pytest.approx(new)
    assert finding.gain == pytest.approx((old - new) / old)
    correct = logits.argmax(dim=1) == state.validation.labels
    assert finding.metric == pytest.approx(correct.double().mean().item())
    gap = own - train.teacher_logits
    assert finding.largest_gap == pytest.approx(gap.abs().max().item(), rel=1e-5)
    (shard,) = state.train.shards
    torch.testing.assert_close(shard.gap(student, slice(None))[0], gap)
    raised, lowered = shard.game.weights()
    edges = (raised * gap - lowered * gap).sum(dim=0)
    assert finding.edges == pytest.approx(edges.tolist(), rel=1e-3, abs=1e-6)
    assert finding.edge == pytest.approx(edges.sum().item(), rel=1e-3, abs=1e-6)
    assert gap.sum(dim=1).abs().max() > 0.1  # the first student was not centred,
    assert student(x, state.validation.earlier)[0].sum(dim=1).abs().max() < 1e-4  # this one is


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_equal_seeds_give_equal_students_to_the_bit(name):
    (one, found), (two, again), (other, _) = (
        search(quick(name), rounds=2, seed=seed) for seed in (7, 7, 8)
    )
    for ours, theirs in zip(found, again, strict=True):
        assert dataclasses.replace(ours, seconds=0) == dataclasses.replace(theirs, seconds=0)
    weights = [torch.cat([p.flatten() for p in s[-1].parameters()]) for s in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_search_leaves_the_global_random_state_alone():
    state, student = toy_round(), first_student()
    before = torch.get_rng_state()
    find_weak_learner(student, state, quick("accurate"), seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("batches", [0, 1, 5])
def test_a_trial_stops_before_its_next_batch(batches):
    asked = 0

    def should_stop():
        nonlocal asked
        asked += 1
        return asked > batches

    student = first_student()
    recipe = quick("accurate", batch_size=64)  # three batches an epoch
    assert find_weak_learner(student, toy_round(), recipe, should_stop=should_stop) is None
    assert asked == batches + 1
    assert student.body.calls == batches


def test_a_trained_student_is_not_judged_to_the_end_if_nobody_waits_for_it():
    asked = 0

    def should_stop():
        nonlocal asked
        asked += 1
        return asked > 2 * 3

    recipe = quick("accurate", batch_size=64, epochs=2)  # three batches an epoch
    assert find_weak_learner(first_student(), toy_round(), recipe, should_stop=should_stop) is None
    assert asked == 2 * 3 + 1


@pytest.mark.parametrize("name", ["accurate", "paper"])
def test_an_absurd_learning_rate_is_an_error(name):
    with pytest.raises(SearchError, match=r"lower space\.lr"):
        find_weak_learner(first_student(), toy_round(), quick(name, lr=1e30))


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"temperature": 1e29}, "lower space.temperature (now 1e+29)"),
        ({"weight_decay": 1e28}, "lower space.weight_decay (now 1e+28)"),
        ({"temperature": 1e-39}, "raise space.temperature (now 1e-39)"),
        ({"own_loss": 1e30}, "lower space.own_loss (now 1e+30)"),
    ],
)
def test_an_error_names_what_is_far_from_usual(change, remedy):
    assert quick("faithful", **change).remedy == remedy
    if change.get("temperature", 0) > 1 or "weight_decay" in change:
        with pytest.raises(SearchError, match=re.escape(remedy)):
            find_weak_learner(first_student(), toy_round(), quick("faithful", **change))


@pytest.mark.parametrize("part", ["inputs", "teacher_logits"])
def test_nan_in_the_data_is_an_error(part):
    state = toy_round()
    getattr(state.train.shards[0], part)[17] = math.nan
    with pytest.raises(SearchError):
        find_weak_learner(first_student(), state, quick("accurate"))


def test_logits_that_only_become_infinite_with_the_last_step_are_an_error():
    recipe = quick("accurate", epochs=1, batch_size=192, lr=1e38)  # the loss is still finite
    with pytest.raises(SearchError, match="not finite"):
        find_weak_learner(trained_alike(first_student()), toy_round(), recipe)


def test_early_acceptance_stops_once_the_edge_holds():
    before = [trained_alike(build(4))]
    student = build(8, "dense", True, (4,))
    recipe = quick("faithful", epochs=30, early_accept=True)
    finding = find_weak_learner(student, toy_round(before), recipe)
    assert finding.epochs < 30
    assert finding.edge >= 0


def test_early_acceptance_goes_on_while_the_edge_is_too_small():
    before = [trained_alike(build(4))]
    student = build(8, "dense", True, (4,))
    recipe = quick("faithful", early_accept=True)
    finding = find_weak_learner(student, toy_round(before), recipe, min_edge=1e9)
    assert finding.epochs == recipe.epochs


@pytest.mark.parametrize("seed", range(6))
def test_what_was_accepted_early_is_what_is_judged(seed):
    """The edge that ends the training is the edge of the centred student that is kept."""
    torch.manual_seed(seed)
    before = [trained_alike(build(4))]
    student = trained_alike(build(8, "none", False))
    student.head.bias.data += 5 * (-1) ** seed
    recipe = quick("paper", epochs=40, early_accept=True)
    state = toy_round(before, normalisation="per_label")
    finding = find_weak_learner(student, state, recipe)
    assert finding.epochs == 40 or finding.edge >= 0


class ModeRecorder(nn.Module):
    """A body whose answer differs between training and evaluation, as with dropout."""

    features = 4

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.judged_in_training_mode = []

    def forward(self, x):
        if not torch.is_grad_enabled():
            self.judged_in_training_mode.append(self.training)
        else:
            assert self.training
        return self.linear(x)


@pytest.mark.parametrize("early_accept", [False, True])
def test_students_are_trained_in_training_mode_and_judged_in_evaluation_mode(early_accept):
    student = build(4, "none", True)
    student.body = ModeRecorder()
    recipe = quick("faithful", early_accept=early_accept)
    find_weak_learner(student, toy_round(), recipe, min_edge=1)
    assert len(student.body.judged_in_training_mode) >= 2
    assert not any(student.body.judged_in_training_mode)
    assert not student.training


@pytest.mark.parametrize("skip", [True, False])
def test_round_one_refuses_a_useless_student_although_its_edge_is_zero(skip):
    state = toy_round()
    state = Round.of(state.train, whole(state.train), state.measure)
    student = first_student(skip=skip)
    nn.init.zeros_(student.head.weight)
    nn.init.zeros_(student.head.bias)
    finding = find_weak_learner(student, state, quick("accurate", lr=1e-12))
    assert finding.edge == 0
    assert finding.gain <= 0
    assert not finding.is_weak_learner(min_edge=0, min_gain=0)


def test_a_weak_learner_needs_edge_gain_and_answers_no_worse():
    finding = Finding((0.1,), 0.1, 0.5, 1.0, 0.2, 0.9, 0.0, 0.01, 3.0, 4, 1.0)
    assert finding.is_weak_learner(0.1, 0.1)
    assert not finding.is_weak_learner(0.11, 0.1)
    assert not finding.is_weak_learner(0.1, 0.2)
    assert not dataclasses.replace(finding, gain=math.nan).is_weak_learner(0, 0)
    assert not dataclasses.replace(finding, edge=math.nan).is_weak_learner(0, 0)
    assert not dataclasses.replace(finding, metric_gain=-1e-9).is_weak_learner(0, 0)


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("skip", [False, True])
def test_every_recipe_runs_with_every_connection(name, connection, skip):
    recipe = quick(name, epochs=2, connection=connection, skip=skip)
    students, findings = search(recipe, rounds=3)
    assert all(np.isfinite(dataclasses.astuple(f)[1:-1]).all() for f in findings)
    assert all(len(finding.edges) == OUTPUTS for finding in findings)
    assert len(students) == 3


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("shards", [1, 4])
def test_regression_is_learned_too_and_keeps_its_mean(name, shards):
    x = torch.from_numpy(random_array(0, 128, 6))
    teacher = torch.stack([x[:, 0] + 4, x[:, 1] - 2, x[:, 2] * 0.5 + 1], dim=1)
    train = Examples.before_round_one(x, teacher, teacher.clone())
    recipe = quick(name, epochs=30)
    rules = rules_for(teacher, recipe.normalisation)
    state = Round.of(
        TrainingSplit.before_round_one(cut(train, [128 // shards] * shards), rules),
        train,
        Measure("regression", recipe.label_share),
    )
    student = first_student(connection=recipe.connection, skip=recipe.skip)
    finding = find_weak_learner(student, state, recipe)
    assert finding.gain > 0.3
    assert finding.metric > 0.3
    means = state.validation.joined(student).ensemble.mean(dim=0)
    torch.testing.assert_close(means, teacher.mean(dim=0), rtol=0, atol=0.5)


def test_without_labels_the_teacher_is_the_only_guide():
    blind = toy_round(labelled=False)
    finding = find_weak_learner(first_student(), blind, quick("accurate"))
    alone = toy_round(label_share=0.0)
    same = find_weak_learner(first_student(), alone, quick("accurate", label_share=0.0))
    assert finding.loss == same.loss
    assert finding.metric == same.metric  # toy labels are the teacher's answers


def test_the_baseline_is_the_best_constants_loss_first_and_the_ensembles_later():
    state = toy_round(shards=3)
    logits = state.measure.best_constant(state.train.shards).expand_as(
        state.validation.teacher_logits
    )
    assert state.baseline == state.measure.loss(logits, state.validation)
    assert state.baseline < state.measure.loss(state.validation.ensemble, state.validation)
    students = [trained_alike(build(4)), trained_alike(build(3, "dense", True, (4,)))]
    for count in (1, 2):
        later = toy_round(students[:count], shards=3)
        ensemble = toy_round(students[:count]).validation.ensemble
        assert later.baseline == later.measure.loss(ensemble, later.validation)


def batches_of(shards, seed):
    generator = torch.Generator().manual_seed(seed)
    return [(shard, rows.tolist()) for shard, rows in shuffled_batches(shards, 16, generator)]


def sharded(*sizes):
    state = toy_round(examples=sum(sizes))
    (shard,) = state.train.shards
    examples = Examples.before_round_one(shard.inputs, shard.teacher_logits, shard.labels)
    return TrainingSplit.before_round_one(cut(examples, list(sizes)), shard.game.rules).shards


@pytest.mark.parametrize("sizes", [(50,), (16, 16), (33, 1, 50, 16)])
def test_batches_hold_every_row_once_and_never_span_shards(sizes):
    shards = sharded(*sizes)
    batches = batches_of(shards, seed=0)
    assert len(batches) == sum(math.ceil(size / 16) for size in sizes)
    assert max(len(rows) for _, rows in batches) <= 16
    for shard in shards:
        rows = [row for owner, rows in batches if owner is shard for row in rows]
        assert sorted(rows) == list(range(len(shard)))
    owners = [id(shard) for shard, _ in batches]
    assert len(list(itertools.groupby(owners))) == len(sizes)  # a shard's batches follow each other


def test_the_order_of_batches_depends_on_the_generator_alone():
    shards = sharded(33, 1, 50, 16)
    first = batches_of(shards, seed=3)
    torch.manual_seed(99)
    again = batches_of(shards, seed=3)
    assert [(id(shard), rows) for shard, rows in again] == [(id(s), rows) for s, rows in first]
    assert [rows for _, rows in batches_of(shards, seed=4)] != [rows for _, rows in first]
    owners = {tuple(len(s) for s, _ in batches_of(shards, seed)) for seed in range(5)}
    assert len(owners) > 1  # the shards' order is shuffled too
    generator = torch.Generator().manual_seed(3)
    epochs = [[r.tolist() for _, r in shuffled_batches(shards, 16, generator)] for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_the_learning_rate_falls_to_zero_however_the_rows_are_cut(monkeypatch):
    """A shard's last, smaller batch is a step too: a plan without it would let the rate rise."""
    rates = []

    class Recorded(torch.optim.lr_scheduler.CosineAnnealingLR):
        def step(self, *arguments):
            super().step(*arguments)
            rates.extend(self.get_last_lr())

    monkeypatch.setattr(torch.optim.lr_scheduler, "CosineAnnealingLR", Recorded)
    recipe = quick("accurate", batch_size=60)
    find_weak_learner(first_student(), toy_round(examples=192, shards=3), recipe)
    rates = rates[1:]  # the constructor steps once
    assert len(rates) == recipe.epochs * 3 * 2
    assert all(before > after for before, after in itertools.pairwise(rates))
    assert rates[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_own_loss_reaches_the_body_and_leaves_no_second_head(connection):
    """With a head that stays at zero, only the second head's loss can move the body."""

    def trained(own_loss):
        students, _ = search(quick("accurate", epochs=1), rounds=1)
        recipe = quick("accurate", epochs=3, connection=connection, own_loss=own_loss)
        students, findings = search(recipe, rounds=2)
        return students[-1].state_dict(), findings[-1]

    (plain, without), (moved, with_own) = trained(0.0), trained(5.0)
    assert plain.keys() == moved.keys()
    assert any(not torch.equal(plain[name], moved[name]) for name in plain if "body" in name)
    assert without.loss != with_own.loss
