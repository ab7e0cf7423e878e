"""Views: copies that depend on their row and number alone, whatever units and company they have."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_students import INPUTS, OUTPUTS, build_ensemble, property_test, random_array, rules_for
from torch.nn import functional

from bdistil.core import find_weak_learner as finding
from bdistil.core import views as views_module
from bdistil.core.connections import Hidden
from bdistil.core.examples import Examples, Measure
from bdistil.core.losses import fitting_loss
from bdistil.core.recipes import recipe
from bdistil.core.round import Round
from bdistil.core.training_split import TrainingSplit
from bdistil.core.views import Scale, ViewMaker, Views, halved, whole
from bdistil.spec.views import ViewSpec

ROWS = 12
SHAPES = {"tabular": (INPUTS,), "sequence": (9, 4), "image": (3, 8, 6)}
CHANGED = {
    "tabular": {"noise": 0.3, "mixup": 0.4},
    "sequence": {
        **{"shift": 3, "time_stretch": 0.4, "feature_stretch": 0.3},
        **{"time_mask": 0.5, "feature_mask": 0.6, "noise": 0.1, "mixup": 0.2},
    },
    "image": {"crop": 3, "flip": True, "erase": 0.5, "noise": 0.1, "mixup": 0.2},
}


def maker(first=0, seed=3, **changes):
    return ViewMaker(ViewSpec(**changes), seed, first, ROWS)


def inputs(domain, seed=0):
    shape = SHAPES[domain]
    array = random_array(seed, ROWS, int(np.prod(shape)))
    return torch.from_numpy(array.reshape(ROWS, *shape))


@pytest.mark.parametrize("domain", SHAPES)
@property_test
@given(st.lists(st.integers(0, ROWS - 1), min_size=1), st.integers(0, 5))
def test_a_copy_is_of_its_row_whoever_is_beside_it(domain, rows, copy):
    x, make = inputs(domain), maker(**CHANGED[domain])
    whole = make.make(x, slice(0, ROWS), copy)
    torch.testing.assert_close(make.make(x, torch.tensor(rows), copy), whole[rows])
    assert whole.shape == x.shape


@pytest.mark.parametrize("domain", SHAPES)
def test_raw_and_standardised_rows_have_the_same_copies(domain):
    x, make = inputs(domain), maker(**CHANGED[domain])
    shape = {"tabular": (INPUTS,), "sequence": (1, 4), "image": (3, 1, 1)}[domain]
    shift, scale = torch.randn(shape) * 50, torch.rand(shape) * 9 + 1
    raw = make.make(x * scale + shift, slice(0, ROWS), 1, Scale(shift, scale))
    expected = make.make(x, slice(0, ROWS), 1)
    torch.testing.assert_close((raw - shift) / scale, expected, atol=1e-4, rtol=1e-4)


def test_copies_differ_by_number_shard_and_seed():
    x = inputs("image")

    def made(copy=0, **place):
        return maker(crop=3, flip=True, **place).make(x, slice(0, ROWS), copy)

    torch.testing.assert_close(made(), made())
    for other in (made(copy=1), made(first=ROWS), made(seed=4)):
        assert not torch.equal(made(), other)


def test_an_image_moves_within_its_mirrored_rim_or_turns_round():
    """Every copy is a window of the image, padded by reflection, or its mirror image."""
    x, most = inputs("image"), 3
    made = maker(crop=most, flip=True, copies=9).make(x, slice(0, ROWS), 0)
    padded = functional.pad(x, (most,) * 4, mode="reflect")
    height, width = x.shape[2:]
    seen = set()
    for image, around in zip(made, padded, strict=True):
        windows = {
            (down, right, turned): around[:, down : down + height, right : right + width]
            for down in range(2 * most + 1)
            for right in range(2 * most + 1)
            for turned in (False, True)
        }
        places = [
            place
            for place, window in windows.items()
            if torch.equal(image, window.flip(2) if place[2] else window)
        ]
        assert places
        seen.add(places[0])
    assert len(seen) > ROWS // 2
    assert {turned for _, _, turned in seen} == {False, True}


def test_what_is_wiped_out_is_one_stretch_of_nothing():
    x = inputs("sequence") + 100
    made = maker(time_mask=0.6).make(x, slice(0, ROWS), 0)
    gone = (made == 0).all(dim=2)
    assert torch.equal(made[~gone], x[~gone])
    assert 0 < gone.sum(dim=1).max() <= 6
    edges = gone.int().diff(dim=1).abs().sum(dim=1)
    assert edges.max() <= 2
    features = maker(feature_mask=0.9).make(x, slice(0, ROWS), 0)
    assert ((features == 0).all(dim=1) | (features == x).all(dim=1)).all()


@pytest.mark.parametrize(("change", "axis"), [("time_stretch", 1), ("feature_stretch", 2)])
def test_a_line_is_steeper_or_flatter_from_the_place_that_stays(change: str, axis: int) -> None:
    size = SHAPES["sequence"][axis - 1]
    fixed, beside = (size - 1, size - 2) if axis == 1 else (0, 1)
    line = torch.arange(size, dtype=torch.float32)
    x = line.view((-1, 1) if axis == 1 else (1, -1)).expand(ROWS, *SHAPES["sequence"])
    made = maker(**{change: 0.25}).make(x, slice(0, ROWS), 0)
    factors = (made.select(axis, beside) - made.select(axis, fixed))[:, 0].abs()
    assert 0.8 < factors.min() < 1 < factors.max() < 1.25
    places = (fixed + (line - fixed) * factors[:, None]).clamp(0, size - 1)
    expected = places[:, :, None] if axis == 1 else places[:, None]
    torch.testing.assert_close(made, expected.expand_as(made))


def test_a_hole_in_an_image_is_no_larger_than_asked():
    x = inputs("image") + 100
    made = maker(erase=0.5).make(x, slice(0, ROWS), 0)
    hole = (made == 0).all(dim=1)
    assert hole.any()
    assert hole.any(dim=2).sum(dim=1).max() <= 4
    assert torch.equal(made[~hole[:, None].expand_as(made)], x[~hole[:, None].expand_as(x)])


def test_mixtures_mix_labels_alike():
    x, labels = inputs("tabular"), torch.arange(ROWS) % 3
    make = maker(mixup=0.5)
    made = make.make(x, slice(0, ROWS), 2)
    shares = make.labels(labels, slice(0, ROWS), 2, 3)
    draws = make.draws(2, x.shape[1:])
    for row in range(ROWS):
        share, partner = draws.share[row], draws.partner[row]
        torch.testing.assert_close(made[row], share * x[row] + (1 - share) * x[partner])
        expected = torch.zeros(3)
        expected[labels[row]] += share
        expected[labels[partner]] += 1 - share
        torch.testing.assert_close(shares[row], expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_whole_labels_as_shares_cost_the_same(temperature):
    logits, teacher = torch.randn(2, ROWS, 3), torch.randn(ROWS, 3)
    labels = torch.arange(ROWS) % 3
    settings = {"label_share": 0.4, "temperature": temperature}
    whole = fitting_loss(logits, teacher, labels, **settings)
    shares = fitting_loss(logits, teacher, functional.one_hot(labels, 3).float(), **settings)
    torch.testing.assert_close(whole, shares)


def viewed(copies=3, stages=(), **changes):
    """A training split of the tabular rows with copies, after an ensemble's students."""
    x, teacher = inputs("tabular"), torch.from_numpy(random_array(7, ROWS, OUTPUTS))
    make = ViewMaker(ViewSpec(copies=copies, **changes), 0, 0, ROWS)
    answers = torch.from_numpy(random_array(8, copies, ROWS, OUTPUTS)).half()
    part = Examples.before_round_one(x, teacher, torch.arange(ROWS) % 3, Views(make, answers))
    split = TrainingSplit.before_round_one([part], rules_for(teacher, "joint", 0.05))
    ensemble = build_ensemble(list(stages))
    for student in ensemble:
        split = split.played(student)
    return split, ensemble, make, answers


STAGES = [(4, "none", True), (3, "dense", True), (4, "gru", False), (2, "residual", True)]


def test_an_epoch_shows_a_copy_as_the_ensemble_and_the_teacher_see_it():
    split, ensemble, make, answers = viewed(stages=STAGES, noise=0.5)
    [shard] = split.shards
    rows = torch.tensor([5, 0, 9])
    for epoch in range(7):
        copy = epoch % 3
        shown = shard.shown(rows, epoch)
        x = make.make(shard.inputs, rows, copy)
        torch.testing.assert_close(shown.inputs, x)
        torch.testing.assert_close(shown.teacher_logits, answers[copy][rows].float())
        near = {"atol": 2e-3, "rtol": 2e-3}  # hidden states are kept in float16
        torch.testing.assert_close(shown.ensemble, ensemble(x).detach(), **near)
        for seen, (_, state) in zip(shown.earlier, ensemble.steps(x), strict=True):
            torch.testing.assert_close(seen.features, state.features.detach(), **near)


@pytest.mark.parametrize(("first", "kept_bytes", "kept"), [(0, 2**20, 2), (5, 2**20, 0), (0, 9, 0)])
def test_few_copies_are_made_once(monkeypatch, first, kept_bytes, kept):
    monkeypatch.setattr(views_module, "KEPT_BYTES", kept_bytes)
    x, make = inputs("sequence"), maker(first, copies=2, **CHANGED["sequence"])
    views, rows = Views(make, torch.zeros(2, ROWS, 3)), torch.tensor([7, 0, 7])
    for copy in (0, 1, 0):
        expected = make.make(x, rows, copy)
        assert torch.equal(views.inputs_of(x, copy, rows), expected)
        later = replace(views, ensemble=torch.ones(2, ROWS, 3)).to("cpu")  # another round
        assert torch.equal(later.inputs_of(x, copy, rows), expected)
    assert len(views.made) == kept
    assert views.to("meta").made == {}


def test_hidden_states_of_copies_are_kept_in_half_and_never_infinite():
    split, *_ = viewed(stages=STAGES, noise=0.5)
    views = split.shards[0].views
    for state in views.earlier:
        assert {each.dtype for each in (state.features, state.memory) if each is not None} == {
            torch.float16
        }
        assert state.features.shape[:2] == (3, ROWS)
    far = whole(halved(Hidden(torch.tensor([[1e6, -1e6, 1.5]]))))
    assert far.features.tolist() == [[65504.0, -65504.0, 1.5]]


def test_margins_and_edges_stay_those_of_the_rows():
    split, ensemble, *_ = viewed(stages=STAGES, noise=0.5)
    [shard] = split.shards
    everything = shard.take(slice(0, ROWS))
    torch.testing.assert_close(everything.ensemble, ensemble(shard.inputs).detach())
    plain = Examples.before_round_one(shard.inputs, shard.teacher_logits, shard.labels)
    without = TrainingSplit.before_round_one([plain], split.rules)
    for student in ensemble:
        without = without.played(student)
    assert torch.equal(without.shards[0].game.margin, shard.game.margin)


def test_training_sees_copy_e_in_epoch_e(monkeypatch):
    split, *_ = viewed(copies=2, noise=0.5)
    [shard] = split.shards
    validation = Examples.before_round_one(shard.inputs, shard.teacher_logits, shard.labels)
    state = Round.of(split, validation, Measure("classification", 0.5))
    seen = []
    shown = type(shard).shown
    monkeypatch.setattr(
        type(shard), "shown", lambda self, rows, e: seen.append(e) or shown(self, rows, e)
    )
    settings = replace(recipe("accurate"), epochs=3, batch_size=ROWS)
    (student,) = build_ensemble([(4, "none", True)])
    finding.find_weak_learner(student, state, settings)
    assert seen == [0, 1, 2]


def test_nothing_to_change_is_refused():
    with pytest.raises(ValueError, match="change nothing"):
        ViewSpec(copies=3)
