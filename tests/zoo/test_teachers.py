"""Every registered teacher keeps its contract, and says what it refuses."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bdistil.errors import SpecError
from bdistil.testing import TEACHER_CHECKS, TEACHER_SHAPES
from bdistil.testing.teacher_contract import check_options
from bdistil.zoo import build_teacher, register_teacher, teacher_class, teacher_classes

CASES = [
    pytest.param(entry.name, domain, shape, id=f"{entry.name}-{'x'.join(map(str, shape))}")
    for entry in teacher_classes()
    for domain in entry.domains
    for shape in TEACHER_SHAPES[domain]
]
LARGER = {
    "mlp": {"widths": [300, 128]},
    "cnn": {"channels": [40, 64]},
    "cnn1d": {"channels": [40, 64]},
    "fcn": {"channels": [96, 96, 160, 160]},
    "spectrogram": {"channels": [24, 48, 96, 160]},
    "gru": {"width": 80},
    "lstm": {"width": 80},
    "resnet": {"blocks": 3},
    "vit": {"heads": 5},
}


def teacher_of(name, domain, shape, options=None, seed=0):
    torch.manual_seed(seed)
    return build_teacher(name, domain, shape, 3, options or {})


def inputs_of(shape, count=6):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7))


def flops_of(model, shape):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta").eval()(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops()


@pytest.mark.parametrize(("name", "domain", "shape"), CASES)
@pytest.mark.parametrize("check", TEACHER_CHECKS, ids=lambda check: check.__name__)
def test_every_teacher_keeps_the_contract(check, name, domain, shape):
    check(name, domain, shape)


@pytest.mark.parametrize(("name", "domain", "shape"), CASES)
def test_options_change_the_size(name, domain, shape):
    check_options(name, domain, shape, LARGER[name])


@pytest.mark.parametrize(
    ("name", "domain", "shape"),
    [
        (entry.name, domain, shapes[0])
        for entry in teacher_classes()
        for domain, shapes in TEACHER_SHAPES.items()
        if domain not in entry.domains
    ],
)
def test_wrong_domain_names_teacher_shape_and_remedy(name, domain, shape):
    with pytest.raises(SpecError, match=rf"teacher '{name}' takes .*; choose .*mlp"):
        teacher_of(name, domain, shape)


@pytest.mark.parametrize(
    ("domain", "chosen"), [("tabular", "mlp"), ("image", "cnn"), ("sequence", "fcn")]
)
def test_auto_chooses_by_domain(domain, chosen):
    shape = TEACHER_SHAPES[domain][0]
    x = inputs_of(shape)
    auto, named = (teacher_of(name, domain, shape).eval() for name in ("auto", chosen))
    assert torch.equal(auto(x), named(x))


def test_the_default_mlp_on_digits_has_the_flops_of_the_reference():
    assert flops_of(build_teacher("mlp", "image", (1, 8, 8), 10, {}), (1, 8, 8)) == 100_864


def test_unknown_teacher_hints_at_the_closest():
    with pytest.raises(SpecError, match=r"'lstn' is unknown; did you mean 'lstm'\?.*gru"):
        teacher_class("lstn")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": [3]}, r"no option 'width'; did you mean 'widths'\?"),
        ({"colour": 3}, "no option 'colour'; known: widths, dropout"),
        ({"widths": 64}, "teacher.options.widths is 64: .*list"),
        ({"widths": []}, "teacher.options.widths is .*at least 1"),
        ({"widths": [64, 0]}, "teacher.options.widths.1 is 0: .*greater than 0"),
        ({"dropout": 1.0}, "teacher.options.dropout is 1.0: .*less than 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(SpecError, match=message):
        build_teacher("mlp", "tabular", (4,), 2, options)


def test_a_taken_name_cannot_be_registered_again():
    with pytest.raises(SpecError, match="'auto' is taken"):
        register_teacher("auto", domains=("tabular",))(lambda shape, outputs: None)
