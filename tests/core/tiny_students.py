"""Small students and data for the tests of bdistil.core, which knows no zoo."""

import dataclasses

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn

from bdistil.core.ensemble import ProgressiveEnsemble
from bdistil.core.examples import Examples, Measure
from bdistil.core.find_weak_learner import Round
from bdistil.core.game import Game
from bdistil.core.recipes import recipe
from bdistil.core.student import Student, StudentConfig

CONNECTIONS = ("none", "residual", "dense", "lstm", "gru")
INPUTS, OUTPUTS = 6, 3

property_test = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**31 - 1)
normalisations = st.sampled_from(["joint", "per_label"])
layouts = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(CONNECTIONS), st.booleans()),
    min_size=1,
    max_size=4,
)


class Mlp(nn.Module):
    """One hidden layer; counts its evaluations."""

    def __init__(self, features, inputs=INPUTS):
        super().__init__()
        self.features = features
        self.linear = nn.Linear(inputs, features)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return torch.relu(self.linear(x))


def build(width, connection="none", skip=False, earlier=(), outputs=OUTPUTS):
    config = StudentConfig("mlp", width, connection, skip)
    return Student(config, Mlp(width), outputs, earlier)


def trained_alike(student):
    """The student with a head as after training, not the zeros that skip starts from."""
    nn.init.normal_(student.head.weight)
    nn.init.normal_(student.head.bias)
    return student


def build_ensemble(layout, seed=0):
    """An ensemble of (width, connection, skip) students with random weights."""
    torch.manual_seed(seed)
    ensemble = ProgressiveEnsemble(OUTPUTS)
    for width, connection, skip in layout:
        ensemble.append(trained_alike(build(width, connection, skip, ensemble.features)))
    return ensemble.eval()


def random_array(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def toy_examples(examples=192, seed=0):
    """Points labelled by a smooth teacher, whose centred logits are of size 1 to 5."""
    x = torch.from_numpy(random_array(seed, examples, INPUTS))
    weight = torch.from_numpy(random_array(100, INPUTS, 8))
    head = torch.from_numpy(random_array(101, 8, OUTPUTS))
    teacher = 2 * torch.tanh(x @ weight) @ head
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    return Examples.before_round_one(x, teacher, teacher.argmax(dim=1))


def toy_round(students=(), *, normalisation="joint", label_share=0.6, examples=192):
    """The round after `students`, on toy data."""
    train, validation = toy_examples(examples, seed=0), toy_examples(examples // 2, seed=1)
    game = Game.start(len(train), OUTPUTS, step=0.1, normalisation=normalisation)
    for student in students:
        game = game.play(train.gap(student))
        train, validation = train.joined(student), validation.joined(student)
    return Round(train, validation, game, Measure("classification", label_share))


def quick(name, **changes):
    """A recipe shortened for tests."""
    return dataclasses.replace(recipe(name), **{"epochs": 4, "lr": 0.02, **changes})
