"""All members of a stack in one written-out pass: what torch's vmap gives, values and gradients."""

import pytest
import torch
from torch import nn

from bdistil.core.connections import Hidden
from bdistil.core.own_head import WithOwnHead
from bdistil.core.stacked import Stack
from bdistil.core.student import Student, StudentConfig
from bdistil.zoo import student_class

SHAPES = {
    "mlp": (5,),
    "cnn": (1, 6, 6),
    "convnet": (2, 17, 12),  # with a pooling
    "cnn1d": (40, 3),
    "separable": (2, 10, 10),
    "fcn": (40, 3),
    "spectrogram": (17, 6),
}
MEMBERS, OUTPUTS = 3, 4
EARLIER = (2, 5)


def stack_of(body, connection, second=False, earlier=EARLIER):
    students = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        config = StudentConfig("any", 3, connection, True)
        student = Student(config, body(), OUTPUTS, earlier)
        students.append(WithOwnHead(student) if second else student)
    stack = Stack(students)
    nn.init.normal_(stack.flat)  # heads start at zero
    return stack


def hidden_states(rows, earlier=EARLIER):
    return [Hidden(torch.randn(rows, width)) for width in earlier]


class Functional(nn.Module):
    """An activation as a function."""

    def __init__(self):
        super().__init__()
        self.features = 4
        self.layer = nn.Linear(6, 4)

    def forward(self, x):
        return torch.nn.functional.gelu(self.layer(x), approximate="tanh")


def check_alike(stack, x, earlier):
    found = []
    for run in (stack.batched, None):
        stack.batched = run
        answers = [each for each in stack(x, earlier) if each is not None]
        assert {tuple(each.shape) for each in answers} == {(MEMBERS, len(x), OUTPUTS)}
        loss = sum(each.square().sum() for each in answers)
        found.append((*answers, *torch.autograd.grad(loss, stack.flat)))
    for ours, expected in zip(*found, strict=True):
        largest = expected.abs().max().item()  # of sums of terms of that size
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("connection", ["none", "residual", "dense"])
@pytest.mark.parametrize("kind", SHAPES)
def test_chains_are_run_as_vmap_runs_them(kind, connection, second):
    shape = SHAPES[kind]
    stack = stack_of(lambda: student_class(kind).build(shape, 3), connection, second)
    assert stack.batched is not None
    check_alike(stack, torch.randn(6, *shape), hidden_states(6))


class Layers(nn.Module):
    """A chain of a user's."""

    def __init__(self, *layers, features=4):
        super().__init__()
        self.features = features
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class StepByStep(nn.Module):
    """The same layer on each of the six features."""

    def __init__(self):
        super().__init__()
        self.features = 24
        self.layer, self.flatten = nn.Linear(1, 4), nn.Flatten()

    def forward(self, x):
        return self.flatten(self.layer(x.unsqueeze(2)))


class OnOneStep(Layers):
    """Layers along a time of one step."""

    def forward(self, x):
        return self.layers(x.unsqueeze(2))


CHAINS = {
    "deep": lambda: Layers(
        nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 5, bias=False), nn.Linear(5, 4)
    ),
    "grouped": lambda: OnOneStep(
        nn.Conv1d(6, 6, 1), nn.Tanh(), nn.Conv1d(6, 4, 1, groups=2), nn.Flatten()
    ),
    "functional": Functional,
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_users_answer_alike_by_either_way(name):
    stack = stack_of(CHAINS[name], "dense")
    assert stack.batched is not None
    check_alike(stack, torch.randn(7, 6), hidden_states(7))


def with_norm():
    return Layers(nn.Linear(6, 4), nn.LayerNorm(4), nn.GELU())


def grouped_at_once():
    return OnOneStep(nn.Conv1d(6, 4, 1, groups=2), nn.Flatten())


def mirrored():
    circular = nn.Conv1d(6, 4, 3, padding=1, padding_mode="circular")
    return OnOneStep(circular, nn.Flatten())


class Branching(nn.Module):
    """Two ways from the input."""

    def __init__(self):
        super().__init__()
        self.features = 4
        self.one, self.other = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        return self.one(x) * self.other(x)


def tied():
    body = CHAINS["deep"]()
    body.layers = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 4))
    body.layers[2].bias = body.layers[0].bias
    return body


def weight_normed():
    body = CHAINS["deep"]()
    torch.nn.utils.parametrizations.weight_norm(body.layers[0])
    return body


@pytest.mark.parametrize(
    ("body", "connection"),
    [
        *(
            (body, "none")
            for body in (Branching, with_norm, grouped_at_once, mirrored, weight_normed)
        ),
        (CHAINS["deep"], "gru"),
    ],
)
def test_what_is_no_chain_goes_through_vmap(body, connection):
    stack = stack_of(body, connection)
    assert stack.batched is None
    logits, _ = stack(torch.randn(7, 6), hidden_states(7))
    assert logits.shape == (MEMBERS, 7, OUTPUTS)


def test_tied_weights_are_no_chain():
    assert stack_of(tied, "none").batched is None


def test_layers_that_take_step_after_step_are_found_out_when_they_run():
    stack = stack_of(StepByStep, "none")
    assert stack.batched is not None
    stack(torch.randn(7, 6), hidden_states(7))
    assert stack.batched is None


def test_those_that_are_kept_go_on():
    stack = stack_of(CHAINS["deep"], "dense")
    x, earlier = torch.randn(7, 6), hidden_states(7)
    before, _ = stack(x, earlier)
    kept = torch.tensor([True, False, True])
    stack.keep(kept)
    assert stack.batched is not None
    torch.testing.assert_close(stack(x, earlier)[0], before[kept])
