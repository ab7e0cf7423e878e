"""Every registered student body keeps its contract, and says what it refuses."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bdistil.core.cost import parameters
from bdistil.errors import SpecError
from bdistil.testing import STUDENT_CHECKS, STUDENT_SHAPES, check_student_exports
from bdistil.testing.student_contract import stacks
from bdistil.zoo import default_student, register_student, student_class, student_classes
from bdistil.zoo.cnn import pooled_grid, pooled_line, windows

NAMES = [entry.name for entry in student_classes()]
CASES = [
    pytest.param(entry.name, shape, id=f"{entry.name}-{'x'.join(map(str, shape))}")
    for entry in student_classes()
    for domain in entry.domains
    for shape in STUDENT_SHAPES[domain]
]
SMALL = {"tabular": (6,), "image": (1, 9, 8), "sequence": (7, 3)}  # for what takes seconds
ALONE = {"gru", "lstm"}  # torch has no batching rule for these; they train one by one
EXPORTED = "convnet"  # stands for the others, except at night


def body_of(name, shape, width=3, seed=0):
    torch.manual_seed(seed)
    return student_class(name).build(shape, width)


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("check", STUDENT_CHECKS, ids=lambda check: check.__name__)
def test_every_body_keeps_the_contract(check, name, shape):
    check(name, shape)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.nightly] * (n != EXPORTED)) for n in NAMES]
)
def test_exported_programs_take_any_batch_and_answer_alike(name):
    pytest.importorskip("onnxruntime")
    check_student_exports(name, SMALL[student_class(name).domains[0]])


@pytest.mark.parametrize("name", NAMES)
def test_bodies_stack_or_are_known_not_to(name):
    assert stacks(name, SMALL[student_class(name).domains[0]]) == (name not in ALONE)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_is_described(name):
    entry = student_class(name)
    assert entry.description
    assert entry.lr > 0
    assert entry.growth > 1


@pytest.mark.parametrize("name", NAMES)
def test_ladders_start_at_a_few_thousand_parameters(name):
    for domain in student_class(name).domains:
        assert parameters(body_of(name, STUDENT_SHAPES[domain][1], width=4)) < 5000


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (entry.name, shapes[0])
        for entry in student_classes()
        for domain, shapes in STUDENT_SHAPES.items()
        if domain not in entry.domains
    ],
)
def test_wrong_domain_names_student_shape_and_remedy(name, shape):
    message = rf"student '{name}' takes .*, not {re.escape(str(shape))}; choose .*mlp"
    with pytest.raises(SpecError, match=message):
        student_class(name).build(shape, 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5), (0,), (0, 3)])
def test_shapes_that_nothing_takes_are_refused(name, shape):
    with pytest.raises(SpecError, match="reshape the data"):
        student_class(name).build(shape, 3)


def test_width_must_be_positive():
    with pytest.raises(SpecError, match="at least 1, not 0"):
        student_class("mlp").build((4,), 0)


def test_unknown_student_hints_at_the_closest():
    with pytest.raises(SpecError, match=r"'gruu' is unknown; did you mean 'gru'\?.*lstm"):
        student_class("gruu")


@pytest.mark.parametrize("domain", STUDENT_SHAPES)
def test_default_student_fits_its_domain(domain):
    for shape in STUDENT_SHAPES[domain]:
        entry = student_class(default_student(domain, shape))
        assert domain in entry.domains
        entry.build(shape, 2)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((3, 32, 32), "convnet"),
        ((3, 16, 40), "convnet"),
        ((3, 8, 8), "cnn"),
        ((1, 28, 28), "convnet(activation=relu)"),
        ((1, 8, 28), "cnn"),
    ],
)
def test_photographs_have_convolutions_and_tiny_images_patches(shape, name):
    assert default_student("image", shape) == name


def test_recordings_have_students_that_slide_over_frequencies_too():
    assert default_student("sequence", (99, 32), is_recorded=True) == "spectrogram"
    assert default_student("sequence", (99, 32)) == "fcn"


def test_a_taken_name_cannot_be_registered_again():
    with pytest.raises(SpecError, match="'mlp' is taken"):
        register_student("mlp", domains=("tabular",), lr=0.1, growth=2)(lambda shape, width: None)


def test_a_registered_student_is_found_and_built(monkeypatch):
    from bdistil.zoo import registry

    monkeypatch.setattr(registry, "_STUDENTS", dict(registry._STUDENTS))

    @register_student("linear", domains=("tabular",), lr=0.1, growth=2)
    def linear(input_shape, width):
        """A linear map."""
        return nn.Linear(math.prod(input_shape), width)

    entry = student_class("linear")
    assert entry.description == "A linear map."
    assert entry.build((4,), 3)(torch.zeros(2, 4)).shape == (2, 3)


def test_one_channel_sees_where_a_pattern_is():
    body, image = body_of("cnn", (1, 8, 8), width=1), torch.zeros(2, 1, 8, 8)
    image[0, :, :2, :2] = image[1, :, -2:, -2:] = 1
    first, second = body(image)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("pool", "axes"), [(pooled_line, 1), (lambda side, n: pooled_grid([side] * 2, n), 2)]
)
def test_cells_of_one_place_are_left_as_they_are(pool, axes):
    x = torch.rand(2, 3, *[8] * axes)
    layer, cells = pool(8, 8)
    assert layer(x) is x
    assert cells == 8**axes
    layer, cells = pool(8, 4)
    assert layer(x).shape == (2, 3, *[4] * axes)
    assert cells == 4**axes


@given(st.integers(1, 200), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_windows_cover_the_whole_side(side, most):
    kernel, stride, cells = windows(side, most)
    assert 1 <= cells <= most
    assert (cells - 1) * stride + kernel == side  # nothing is cropped
    assert 1 <= stride <= kernel  # nothing is skipped
