"""Options of student classes: each keeps the contract and is found again by its name."""

from typing import Literal, get_args, get_origin

import pytest
import torch
from torch import nn

from bdistil.core.cost import flops
from bdistil.errors import SpecError
from bdistil.testing import STUDENT_CHECKS
from bdistil.zoo import register_student, student_class, student_classes

SHAPES = {"tabular": (6,), "image": (3, 32, 28), "sequence": (64, 3)}


def values_of(field):
    kind = field.annotation
    return get_args(kind) if get_origin(kind) is Literal else [False, True]


CHANGED = [
    entry.with_options({name: value}).name
    for entry in student_classes()
    for name, field in entry.options.model_fields.items()
    for value in values_of(field)
    if value != field.default
]


def shape_of(name):
    return SHAPES[student_class(name).domains[-1]]


@pytest.mark.parametrize("name", CHANGED)
def test_every_value_of_every_option_keeps_the_contract(name):
    for check in STUDENT_CHECKS:
        check(name, shape_of(name))


@pytest.mark.parametrize("name", CHANGED)
def test_an_option_changes_the_network_and_its_name_brings_it_back(name):
    entry, plain = student_class(name), student_class(name.partition("(")[0])
    assert entry.name == name
    assert (entry.lr, entry.growth, entry.domains) == (plain.lr, plain.growth, plain.domains)
    shape = shape_of(name)
    built = [str(each.build(shape, 4)) for each in (entry, plain)]
    assert built[0] != built[1]


def test_a_default_that_is_asked_for_is_no_other_class():
    assert student_class("mlp(depth=1)") is student_class("mlp")
    assert student_class("mlp").with_options({"depth": 2}).name == "mlp(depth=2)"
    both = student_class("mlp(activation=tanh, depth=2)")
    assert both.name == "mlp(depth=2, activation=tanh)"
    assert [type(layer) for layer in both.build((4,), 3).layers][2] is nn.Tanh


@pytest.mark.parametrize(("depth", "seen"), [(2, 13), (3, 29), (4, 61)])
def test_more_layers_see_longer_shapes(depth, seen):
    """Steps 8, 16 and 32 apart of windows that begin with 5, 13 and 29 steps."""
    body = student_class(f"fcn(depth={depth})").build((400, 1), 3)
    x = torch.randn(1, 400, 1, requires_grad=True)
    hidden = body.layers[:-3](x.transpose(1, 2))  # without activation, pool and flattening
    hidden[0, :, hidden.shape[2] // 2].sum().backward()
    steps = x.grad[0, :, 0].nonzero()
    assert int(steps.max() - steps.min()) + 1 == seen


def test_two_directions_read_the_sequence_from_both_ends():
    torch.manual_seed(0)
    body = student_class("gru(bidirectional=true)").build((7, 3), 4)
    x = torch.randn(2, 7, 3)
    last, first = x.clone(), x.clone()
    last[:, -1], first[:, 0] = 9, 9
    forward, backward = slice(0, 4), slice(4, 8)
    _, hidden = body.layer(x)
    torch.testing.assert_close(body(x)[:, forward], hidden[0])
    torch.testing.assert_close(body(x)[:, backward], hidden[1])
    for changed in (last, first):
        assert not torch.allclose(body(changed)[:, backward], body(x)[:, backward])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mlp(width=3)", r"student 'mlp' has no option 'width'; "),
        ("mlp(depth=9)", r"space\.options\.mlp\.depth is 9: input should be 1, 2 or 3"),
        ("mlp(depth=two)", r"space\.options\.mlp\.depth is 'two'"),
        ("mlp(depth)", r"depth"),
        ("fastgrnn(depth=2)", r"student 'fastgrnn' has no option 'depth'; it has none"),
        ("mpl(depth=2)", r"student 'mpl' is unknown; did you mean 'mlp'"),
    ],
)
def test_unknown_options_are_told(name, words):
    with pytest.raises(SpecError, match=words):
        student_class(name)


def test_a_class_of_ones_own_has_options_too(monkeypatch):
    from bdistil.zoo import registry

    monkeypatch.setattr(registry, "_STUDENTS", dict(registry._STUDENTS))

    @register_student("lines", domains=("tabular",), lr=0.01, growth=1.3)
    class Lines(nn.Sequential):
        """Linear layers."""

        def __init__(self, input_shape, width, *, layers: Literal[1, 2] = 1):
            sizes = [*input_shape, *[width] * layers]
            super().__init__(*map(nn.Linear, sizes, sizes[1:]))
            self.features = width

    entry = student_class("lines(layers=2)")
    assert len(entry.build((5,), 3)) == 2
    assert flops(entry.build((5,), 3), (5,)) > flops(student_class("lines").build((5,), 3), (5,))
