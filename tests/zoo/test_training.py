"""Training a teacher: it learns, it repeats itself, it says when it diverges."""

import math
import statistics

import pytest
import torch
from torch import nn

from bdistil.errors import TeacherError
from bdistil.zoo import build_teacher, logits_in_batches, train_teacher

SETTINGS = {"epochs": 8, "lr": 1e-2, "batch_size": 32, "weight_decay": 1e-4, "seed": 0}


def blobs(count, seed):
    """Three well separated clouds in the plane."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (count,), generator=generator)
    centres = 3 * torch.tensor([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return centres[y] + 0.5 * torch.randn(count, 2, generator=generator), y


def mlp(seed=0, **options):
    torch.manual_seed(seed)
    return build_teacher("mlp", "tabular", (2,), 3, {"widths": [16], **options})


def train(model, **changes):
    settings = {"task": "classification", **SETTINGS, **changes}
    return train_teacher(model, *blobs(120, 0), *blobs(60, 1), **settings)


def test_it_learns_a_separable_problem():
    model = mlp()
    x, y = blobs(200, 2)
    before = (logits_in_batches(model, x).argmax(1) == y).float().mean()
    assert train(model) > 0.97
    after = (logits_in_batches(model, x).argmax(1) == y).float().mean()
    assert after > 0.97 > before


def test_it_learns_a_regression():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[:, 0] - x[:, 1], x.sum(1), x[:, 0]], dim=1)
    settings = {**SETTINGS, "epochs": 30, "task": "regression"}
    assert train_teacher(mlp(), x[:150], y[:150], x[150:], y[150:], **settings) > 0.95


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_equal_seeds_give_bit_identical_weights(dropout):
    models = [mlp(dropout=dropout) for _ in range(3)]
    metrics = [train(m, seed=s) for m, s in zip(models, (5, 5, 6), strict=True)]
    first, same, other = ([p.detach() for p in m.parameters()] for m in models)
    assert metrics[0] == metrics[1]
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_callers_random_state_stays_untouched():
    model = mlp()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(model)
    assert torch.equal(torch.rand(1), expected)


def test_an_epoch_that_is_clearly_better_than_the_last_is_kept():
    (x, y), (validation_x, validation_y) = blobs(120, 0), blobs(60, 1)
    misleading = (y + 1) % 3  # the longer it learns, the worse it does on true labels
    model, seen = mlp(), []
    train(model)
    best = train_teacher(
        *(model, x, misleading, validation_x, validation_y),
        **{**SETTINGS, "task": "classification", "lr": 3e-3, "epochs": 20},
        progress=lambda epoch, epochs, metric: seen.append(metric),
    )
    assert seen[-1] < max(seen) == best
    logits = logits_in_batches(model, validation_x)
    assert (logits.argmax(1) == validation_y).float().mean().item() == best


def test_an_epoch_is_clearly_better_by_what_groups_differ():
    """60 examples of six people; the best epoch answers three of them without fault."""
    (x, _), (validation_x, _) = blobs(120, 0), blobs(60, 1)
    right = torch.cat([torch.ones(30), torch.arange(30) % 2]).bool()  # 1, 1, 1, .5, .5, .5
    people = torch.arange(60) // 10 * 7

    def kept(last, groups):
        """The metric of what is kept if epoch 1 of 2 is right on 45 and the last is at `last`."""
        model, told = mlp(), iter([(0.75, -1.0), (last, -1.0)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bdistil.zoo.training._score", lambda *_: next(told))
            y = logits_in_batches(model, validation_x).argmax(1)
            answers = nn.functional.one_hot(torch.where(right, y, (y + 1) % 3), 3).float()
            patch.setattr("bdistil.zoo.training.logits_in_batches", lambda *_: answers)
            settings = {**SETTINGS, "epochs": 2, "validation_groups": groups}
            labels = torch.zeros(120, dtype=torch.int64)
            return train_teacher(
                *(model, x, labels, validation_x, y), task="classification", **settings
            )

    by_example = math.sqrt(0.75 * 0.25 / 60)  # .056
    by_person = statistics.stdev([1, 1, 1, 0.5, 0.5, 0.5]) / math.sqrt(6)  # .112
    assert kept(0.75 - 0.95 * by_example, None) < 0.75
    assert kept(0.75 - 1.05 * by_example, None) == 0.75
    assert kept(0.75 - 0.95 * by_person, people) < 0.75
    assert kept(0.75 - 1.05 * by_person, people) == 0.75
    assert kept(0.0, torch.full((60,), 3)) == 0.0  # of one person nothing is known


@pytest.mark.parametrize(
    ("task", "scores", "kept"),
    [
        ("classification", [(0.9, -0.5), (0.9, -0.3), (0.9, -0.4), (0.7, -2.0)], 2),
        ("classification", [(0.9, -0.5), (0.9, -0.3), (0.9, -0.4), (0.8999, -2.0)], 4),
        ("multilabel", [(0.9, -0.5), (0.91, -0.3), (0.9, -0.4), (0.9, -0.1)], 2),
    ],
    ids=["clearly better", "by chance", "no accuracy"],
)
def test_which_epoch_is_kept(monkeypatch, task, scores, kept):
    model, left, states = mlp(), iter(scores), []
    monkeypatch.setattr("bdistil.zoo.training._score", lambda *_: next(left))
    (x, y), (validation_x, validation_y) = blobs(120, 0), blobs(60, 1)
    validation_y[::2] = (validation_y[::2] + 1) % 3  # so that nobody is right about all
    if task == "multilabel":
        y, validation_y = (nn.functional.one_hot(each, 3).float() for each in (y, validation_y))

    def record(*_):
        states.append([weights.clone() for weights in model.state_dict().values()])

    settings = {**SETTINGS, "epochs": 4, "task": task, "progress": record}
    assert train_teacher(model, x, y, validation_x, validation_y, **settings) == scores[kept - 1][0]
    after = model.state_dict().values()
    assert all(map(torch.equal, after, states[kept - 1]))
    assert not all(map(torch.equal, after, states[kept - 2]))


def test_progress_counts_every_epoch():
    seen = []
    train(mlp(), epochs=3, progress=lambda epoch, epochs, metric: seen.append((epoch, epochs)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_divergence_names_the_learning_rate_and_a_lower_one():
    with pytest.raises(TeacherError, match=r"teacher.lr is 1e\+30: .*such as 0\.01"):
        train(mlp(), lr=1e30)
    with pytest.raises(TeacherError, match=r"teacher.weight_decay is 1e\+20: .*such as 0\.0001"):
        train(mlp(), weight_decay=1e20)


def test_bf16_is_for_training_alone():
    """As far from fp32 as bf16 rounds; autocast is on in training and off in judging."""
    seen = {}

    class Spied(nn.Linear):
        def forward(self, x):
            found = super().forward(x)
            seen.setdefault(self.training, set()).add(found.dtype)
            return found

    def trained(precision):
        torch.manual_seed(0)
        model = nn.Sequential(Spied(2, 16), nn.GELU(), nn.Linear(16, 3))
        assert train(model, precision=precision) > 0.97
        return torch.cat([each.detach().flatten() for each in model.parameters()])

    exact = trained("fp32")
    assert seen == {True: {torch.float32}, False: {torch.float32}}
    seen.clear()
    rounded = trained("bf16")
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()


def test_batch_norm_survives_a_lone_last_example():
    model = build_teacher("cnn", "image", (1, 1, 1), 3, {})
    x, y = torch.randn(33, 1, 1, 1), torch.arange(33) % 3
    train_teacher(model, x, y, x, y, task="classification", **{**SETTINGS, "epochs": 1})


def test_logits_in_batches_do_not_depend_on_the_batch_size():
    model, x = mlp(dropout=0.5).train(), blobs(50, 0)[0]
    whole, parts = (logits_in_batches(model, x, size) for size in (50, 7))
    assert whole.shape == (50, 3)
    assert not whole.requires_grad
    torch.testing.assert_close(whole, parts)


def test_progress_shows_rows_as_they_are_where_these_have_weights():
    weights = torch.where(blobs(60, 1)[1] == 0, 2.9, 0.05)
    plain, weighted = [], []
    train(mlp(), epochs=3, lr=3e-3, progress=lambda *shown: plain.append(shown))
    kept = train(
        mlp(),
        epochs=3,
        lr=3e-3,
        validation_weights=weights,
        progress=lambda *shown: weighted.append(shown),
    )
    assert plain == weighted
    assert 0 < kept < 1
    assert kept not in [shown[2] for shown in plain]
