"""Sequences in which it is all the same but for when it happens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bdistil.zoo.registry import student_class
from bdistil.zoo.training import logits_in_batches, train_teacher

STEPS, QUARTERS = 32, 4


def bumps(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with one bump, and the quarter of the time that it stands in."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, QUARTERS, count)
    x = generator.normal(0, 0.3, (count, STEPS, 2)).astype(np.float32)
    for row, quarter in enumerate(y):
        at = quarter * STEPS // QUARTERS + generator.integers(1, 5)
        x[row, at : at + 3] += 2
    return torch.tensor(x), torch.tensor(y)


@pytest.mark.parametrize("kind", ["fcn", "cnn1d", "gru"])
def test_students_know_when_it_happens(kind: str) -> None:
    torch.manual_seed(0)
    body = student_class(kind).build((STEPS, 2), 8)
    network = nn.Sequential(body, nn.Linear(body.features, QUARTERS))
    (x, y), (new_x, new_y) = bumps(300, 0), bumps(200, 1)
    settings = {"task": "classification", "epochs": 25, "lr": 0.02, "batch_size": 32}
    train_teacher(network, x, y, new_x, new_y, weight_decay=0.0, seed=0, **settings)
    right = logits_in_batches(network, new_x).argmax(1) == new_y
    assert float(right.float().mean()) > 0.8
