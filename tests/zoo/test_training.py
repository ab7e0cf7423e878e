"""Training a teacher: it learns, it repeats itself, it says when it diverges."""

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


def test_the_best_epoch_is_kept():
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


def test_the_lowest_loss_decides_among_equal_metrics():
    x, y = blobs(60, 1)
    model, losses = mlp(), {}

    def record(epoch, epochs, metric):
        loss = nn.functional.cross_entropy(logits_in_batches(model, x), y).item()
        losses.setdefault(metric, []).append(loss)

    best = train(model, progress=record)
    assert len(losses[best]) > 1, "the toy problem must have ties"
    kept = nn.functional.cross_entropy(logits_in_batches(model, x), y).item()
    assert kept == pytest.approx(min(losses[best]))


def test_progress_counts_every_epoch():
    seen = []
    train(mlp(), epochs=3, progress=lambda epoch, epochs, metric: seen.append((epoch, epochs)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_divergence_names_the_learning_rate_and_a_lower_one():
    with pytest.raises(TeacherError, match=r"teacher.lr is 1e\+30: .*such as 0\.01"):
        train(mlp(), lr=1e30)
    with pytest.raises(TeacherError, match=r"teacher.weight_decay is 1e\+20: .*such as 0\.0001"):
        train(mlp(), weight_decay=1e20)


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
