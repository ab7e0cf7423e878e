"""A training split in shards: plays and judges as one, and knows the ensemble from the margin."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from tiny_students import (
    CONNECTIONS,
    INPUTS,
    OUTPUTS,
    build_ensemble,
    cut,
    layouts,
    normalisations,
    property_test,
    random_array,
    rules_for,
    seeds,
    students_alone,
)

from bdistil.core import training_split
from bdistil.core.examples import Examples
from bdistil.core.game import Game
from bdistil.core.training_split import TrainingSplit

EXAMPLES, ROWS = 40, 8
LAYOUT = [(4, name, skip) for name, skip in zip(CONNECTIONS, [True, False] * 3, strict=False)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(training_split, "ROWS", ROWS)


def examples(seed=0, labels=True):
    x, teacher = (torch.from_numpy(random_array(seed + n, EXAMPLES, n)) for n in (INPUTS, OUTPUTS))
    return Examples.before_round_one(x, teacher, torch.arange(EXAMPLES) % 3 if labels else None)


def start(sizes, normalisation="joint", seed=0, step=0.05):
    split = examples(seed)
    rules = rules_for(split.teacher_logits, normalisation, step)
    return TrainingSplit.before_round_one(cut(split, sizes), rules)


def only(connection, width=4, skip=False):
    """A student that needs none before it."""
    (student,) = build_ensemble([(width, connection, skip)])
    return student


def margin_of(split):
    return torch.cat([shard.game.margin for shard in split.shards])


def assert_same_states(ours, theirs):
    for (features, memory), (expected, other) in zip(ours, theirs, strict=True):
        assert torch.equal(features, expected)
        assert (memory is None) == (other is None)
        assert memory is None or torch.equal(memory, other)


def everything(split):
    """The rows of all shards, as (inputs, teacher, labels, ensemble, features of the students)."""
    parts = [shard.take(slice(None)) for shard in split.shards]
    rows = [
        (p.inputs, p.teacher_logits, p.labels, p.ensemble, *(state.features for state in p.earlier))
        for p in parts
    ]
    return [torch.cat(pieces) for pieces in zip(*rows, strict=True)]


def assert_same_verdict(ours, theirs):
    (verdict, largest), (expected, largest_expected) = ours, theirs
    tolerance = 1e-6 * largest  # the weights sum to one, so no edge is above the largest gap
    assert largest == largest_expected
    torch.testing.assert_close(verdict.edges, expected.edges, rtol=1e-6, atol=tolerance)
    assert verdict.edge == pytest.approx(expected.edge, rel=1e-6, abs=tolerance)
    assert verdict.relative == pytest.approx(expected.relative, abs=1e-5)


@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
@pytest.mark.parametrize("sizes", [[16, 24], [8] * 5, [32, 8]])
def test_shards_of_whole_chunks_play_as_one_shard_to_the_bit(sizes, normalisation):
    whole, parts = start([EXAMPLES], normalisation), start(sizes, normalisation)
    for stage, student in enumerate(build_ensemble(LAYOUT), start=1):
        assert (whole.stage, parts.stage) == (stage, stage)
        assert_same_verdict(parts.judge(student), whole.judge(student))
        whole, parts = whole.played(student), parts.played(student)
        assert torch.equal(margin_of(parts), margin_of(whole))
        assert parts.shards[0].game.summary is parts.shards[-1].game.summary
        for ours, theirs in zip(everything(parts), everything(whole), strict=True):
            assert torch.equal(ours, theirs)
    assert len(parts) == len(whole) == EXAMPLES


@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
def test_shards_of_any_size_play_as_one_shard(normalisation):
    whole, parts = start([EXAMPLES], normalisation), start([1, 22, 17], normalisation)
    for student in build_ensemble(LAYOUT):
        whole, parts = whole.played(student), parts.played(student)
        torch.testing.assert_close(margin_of(parts), margin_of(whole))
    candidate = only("none")
    (verdict, largest), (expected, largest_expected) = (
        split.judge(candidate) for split in (parts, whole)
    )
    torch.testing.assert_close(verdict.edges, expected.edges, rtol=1e-4, atol=1e-7)
    assert largest == pytest.approx(largest_expected, rel=1e-5)


@property_test
@given(layouts, normalisations, seeds)
def test_the_margin_knows_every_students_gap_and_the_ensemble(layout, normalisation, seed):
    ensemble, split = build_ensemble(layout, seed), start([16, 24], normalisation, seed)
    data = examples(seed)
    teacher = data.teacher_logits.numpy()
    game = Game.of(margin_of(split), split.rules)
    functions = students_alone(ensemble, data.inputs)
    for stage, (student, function) in enumerate(zip(ensemble, functions, strict=True), start=1):
        tolerance = 1e-5 * (1 + np.abs(function).max())
        gaps = [shard.gap(student, rows)[0] for shard in split.shards for rows in shard.chunks()]
        gap = torch.cat(gaps)
        np.testing.assert_allclose(gap.numpy(), function - teacher, rtol=0, atol=tolerance)
        game, split = game.play(gap), split.played(student)
        assert torch.equal(margin_of(split), game.margin)
        average = np.mean(functions[:stage], axis=0)
        known = torch.cat([shard.take(slice(None)).ensemble for shard in split.shards])
        np.testing.assert_allclose(known.numpy(), average, rtol=0, atol=tolerance)
        data = data.joined(student)
        torch.testing.assert_close(known, data.ensemble, rtol=0, atol=tolerance)


@property_test
@given(layouts, normalisations, seeds)
def test_the_judge_is_that_of_the_whole_game(layout, normalisation, seed):
    *before, candidate = build_ensemble(layout, seed)
    split = start([8, 32], normalisation, seed)
    for student in before:
        split = split.played(student)
    gaps = [s.gap(candidate, rows)[0] for s in split.shards for rows in s.chunks()]
    gap = torch.cat(gaps)
    game = Game.of(margin_of(split), split.rules)
    assert_same_verdict(split.judge(candidate), (game.judge(gap), gap.abs().max().item()))


def test_the_cut_into_chunks_covers_a_shard_once():
    shard = start([EXAMPLES - 3, 3]).shards[0]
    rows = [row for chunk in shard.chunks() for row in range(chunk.start, chunk.stop)]
    assert rows == list(range(EXAMPLES - 3))
    assert max(chunk.stop - chunk.start for chunk in shard.chunks()) == ROWS


def test_before_round_one_the_ensemble_is_zero_and_nothing_is_preferred():
    split = start([16, 24])
    assert split.stage == 1
    assert not margin_of(split).any()
    for shard in split.shards:
        assert shard.game.summary.rows == EXAMPLES
        assert not shard.take(slice(None)).ensemble.any()
    verdict, largest = split.judge(only("none"))
    assert verdict.edge == verdict.relative == 0
    assert largest > 0


@pytest.mark.parametrize("rows", [slice(3, 9), torch.tensor([7, 2])])
def test_rows_of_a_shard_keep_everything_together(rows):
    split = start([16, 24])
    data = examples()
    ensemble = build_ensemble(LAYOUT)
    for student in ensemble:
        split = split.played(student)
    part = split.shards[1].take(rows)
    where = torch.arange(16, EXAMPLES)[rows]
    assert part.stage == len(LAYOUT) + 1
    assert torch.equal(part.inputs, data.inputs[where])
    assert torch.equal(part.teacher_logits, data.teacher_logits[where])
    assert torch.equal(part.labels, data.labels[where])
    fresh = data.after(ensemble)
    torch.testing.assert_close(part.ensemble, fresh.ensemble[where], rtol=0, atol=1e-4)
    for ours, theirs in zip(part.earlier, fresh.earlier, strict=True):
        torch.testing.assert_close(ours.features, theirs.features[where])
        assert (ours.memory is None) == (theirs.memory is None)
        if ours.memory is not None:
            torch.testing.assert_close(ours.memory, theirs.memory[where])


def test_rows_without_labels_have_none():
    data = examples(labels=False)
    split = TrainingSplit.before_round_one(cut(data, [16, 24]), rules_for(data.teacher_logits))
    assert split.shards[1].take(slice(2, 5)).labels is None


def test_a_played_split_leaves_the_old_one_as_it_was():
    split = start([16, 24])
    later = split.played(only("lstm", skip=True))
    assert split.stage == 1
    assert not margin_of(split).any()
    assert later.rules is split.rules
    assert not margin_of(later).requires_grad


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("shard", [0, 1])
def test_the_largest_gap_shows_logits_that_are_not_finite(value, shard):
    split = start([16, 24])
    split.shards[shard].inputs[5, 0] = value
    _, largest = split.judge(only("none", width=40))
    assert not math.isfinite(largest)


def test_another_round_takes_its_margins_shard_by_shard():
    split = start([16, 24], "per_label")
    later = split.played(only("lstm", skip=True))
    rebuilt = split.with_margins(
        [shard.game.margin for shard in later.shards],
        later.shards[0].game.summary,
        [shard.earlier for shard in later.shards],
    )
    for ours, theirs in zip(rebuilt.shards, later.shards, strict=True):
        assert torch.equal(ours.game.margin, theirs.game.margin)
        assert ours.game.rules == theirs.game.rules
        assert_same_states(ours.earlier, theirs.earlier)
    with pytest.raises(ValueError, match="zip"):
        split.with_margins([margin_of(later)], later.shards[0].game.summary, [[]])
    assert later.stage == rebuilt.stage == 2
