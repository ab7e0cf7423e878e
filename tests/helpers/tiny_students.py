"""Small students and data for the tests of bdistil.core, which knows no zoo."""

import dataclasses

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn

from bdistil.core.connections import connection_names
from bdistil.core.examples import Examples, Measure
from bdistil.core.game import Rules
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.recipes import recipe
from bdistil.core.round import Round
from bdistil.core.student import Student, StudentConfig
from bdistil.core.training_split import TrainingSplit

CONNECTIONS = connection_names()
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


def students_alone(ensemble, x):
    """f_1, f_2, ... by their definition, in float64: a_t, or with skip F_{t-1} + t·a_t."""
    functions, earlier = [], []
    for stage, student in enumerate(ensemble, start=1):
        logits, hidden = student(x, earlier)
        earlier.append(hidden)
        function = logits.detach().numpy().astype(np.float64)
        if student.config.skip:
            so_far = np.mean(functions, axis=0) if functions else 0.0
            function = so_far + stage * function
        functions.append(function)
    return functions


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


def rules_for(teacher, normalisation="joint", step=0.1):
    """The constants of a game against this teacher."""
    size = teacher.abs()
    return Rules(step, normalisation, size.max().item(), size.mean().item())


def cut(examples, sizes):
    """Consecutive rows of a split before round 1, one part a size."""
    labels = [None] * len(sizes) if examples.labels is None else examples.labels.split(sizes)
    parts = zip(
        examples.inputs.split(sizes), examples.teacher_logits.split(sizes), labels, strict=True
    )
    return [Examples.before_round_one(*part) for part in parts]


def whole(split):
    """All rows of the only shard of a training split."""
    (shard,) = split.shards
    return shard.take(slice(None))


def toy_round(
    students=(), *, normalisation="joint", label_share=0.6, examples=192, shards=1, labelled=True
):
    """The round after `students`, on toy data."""
    train, validation = toy_examples(examples, seed=0), toy_examples(examples // 2, seed=1)
    if not labelled:
        train, validation = (dataclasses.replace(e, labels=None) for e in (train, validation))
    rules = rules_for(train.teacher_logits, normalisation)
    split = TrainingSplit.before_round_one(cut(train, [examples // shards] * shards), rules)
    for student in students:
        split, validation = split.played(student), validation.joined(student)
    return Round.of(split, validation, Measure("classification", label_share))


def quick(name, **changes):
    """A recipe shortened for tests."""
    return dataclasses.replace(recipe(name), **{"epochs": 4, "lr": 0.02, **changes})
