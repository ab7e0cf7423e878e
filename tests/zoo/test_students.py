"""The contract that every registered student body keeps."""

import math
import re
import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from bdistil.core.cohort import vectorises
from bdistil.core.cost import flops, parameters
from bdistil.core.examples import Examples, Measure
from bdistil.core.game import Rules
from bdistil.core.round import Round
from bdistil.core.student import Student, StudentConfig
from bdistil.core.training_split import TrainingSplit
from bdistil.errors import SpecError
from bdistil.zoo import default_student, register_student, student_class, student_classes
from bdistil.zoo.cnn import windows

SHAPES = {
    "tabular": [(16,), (1,)],
    "image": [(1, 8, 8), (1, 28, 28), (3, 33, 50), (1, 3, 3)],
    "sequence": [(29, 12), (100, 6), (7, 1), (1, 4)],
}
NAMES = [entry.name for entry in student_classes()]
CASES = [
    pytest.param(entry.name, shape, id=f"{entry.name}-{'x'.join(map(str, shape))}")
    for entry in student_classes()
    for domain in entry.domains
    for shape in SHAPES[domain]
]
SMALL = {"tabular": (6,), "image": (1, 9, 8), "sequence": (7, 3)}  # for what takes seconds
ONE_OF_EACH = [
    pytest.param(e.name, SMALL[d], id=e.name) for e in student_classes() for d in e.domains[:1]
]
ALONE = {"gru", "lstm"}  # torch has no batching rule for these; they train one by one


def body_of(name, shape, width=3, seed=0):
    torch.manual_seed(seed)
    return student_class(name).build(shape, width)


def inputs_of(shape, count=5):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(("name", "shape"), CASES)
class TestContract:
    def test_features_are_finite_and_as_many_as_promised(self, name, shape):
        body = body_of(name, shape)
        features = body(inputs_of(shape))
        assert type(body.features) is int
        assert features.shape == (5, body.features)
        assert features.dtype == torch.float32
        assert features.isfinite().all()

    def test_examples_do_not_see_each_other(self, name, shape):
        body, x = body_of(name, shape), inputs_of(shape)
        torch.testing.assert_close(body(x)[2:3], body(x[2:3]))

    def test_gradient_reaches_every_parameter(self, name, shape):
        body = body_of(name, shape)
        body(inputs_of(shape)).square().sum().backward()
        idle = {k for k, p in body.named_parameters() if p.grad is None or not p.grad.any()}
        single_step = len(shape) == 2 and shape[0] == 1  # no past to weigh
        of_the_past = {"layer.weight_hh_l0", "layer.recurrent.weight"}
        assert idle <= (of_the_past if single_step else set())

    def test_equal_seeds_give_equal_bodies(self, name, shape):
        x = inputs_of(shape)
        assert torch.equal(body_of(name, shape)(x), body_of(name, shape)(x))
        assert not torch.equal(body_of(name, shape)(x), body_of(name, shape, seed=1)(x))

    def test_flops_grow_with_width(self, name, shape):
        bodies = [body_of(name, shape, width) for width in (1, 2, 5)]
        for figures in ([flops(body, shape) for body in bodies], list(map(parameters, bodies))):
            assert figures[0] > 0
            assert all(a < b for a, b in pairwise(figures)), figures

    def test_training_mode_changes_nothing(self, name, shape):
        body, x = body_of(name, shape), inputs_of(shape)
        assert torch.equal(body.train()(x), body.eval()(x))

    def test_weights_survive_safetensors(self, name, shape, tmp_path):
        body, other, x = body_of(name, shape), body_of(name, shape, seed=1), inputs_of(shape)
        save_file(body.state_dict(), tmp_path / "body.safetensors")
        other.load_state_dict(load_file(tmp_path / "body.safetensors"))
        assert torch.equal(body(x), other(x))


@pytest.mark.parametrize(("name", "shape"), ONE_OF_EACH)
class TestOtherForms:
    def test_bodies_stack_or_say_that_they_do_not(self, name, shape):
        student = Student(StudentConfig(name, 3, "none", True), body_of(name, shape), 2, [])
        assert vectorises(student, small_round(shape)) == (name not in ALONE)

    def test_stacked_bodies_answer_as_each_alone(self, name, shape):
        if name in ALONE:
            pytest.skip("trains alone")
        bodies, x = [body_of(name, shape, seed=seed) for seed in range(3)], inputs_of(shape)
        state = stack_module_state(bodies)
        features = vmap(lambda *state: functional_call(bodies[0], state, (x,)))(*state)
        torch.testing.assert_close(features, torch.stack([body(x) for body in bodies]))

    def test_exported_programs_take_any_batch_and_answer_alike(self, name, shape):
        runtime = pytest.importorskip("onnxruntime")
        body = body_of(name, shape).eval()
        program = exported(body, inputs_of(shape, 2))
        session = runtime.InferenceSession(as_onnx(program))
        for count in (1, 5):
            x = inputs_of(shape, count)
            expected = body(x)
            [features] = session.run(None, {"x": x.numpy()})
            for answer in (program.module()(x), torch.tensor(features)):
                torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5)


def small_round(shape):
    teacher, labels = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    split = Examples.before_round_one(inputs_of(shape, 4), teacher, labels)
    train = TrainingSplit.before_round_one([split], Rules(0.1, "joint", 1.0, 1.0))
    return Round.of(train, split, Measure("classification", 0.5))


def exported(body, x):
    batch = ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own recurrent layers
        return torch.export.export(body, (x,), dynamic_shapes=batch)


def as_onnx(program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        graph = torch.onnx.export(program, dynamo=True, input_names=["x"], verbose=False)
    return graph.model_proto.SerializeToString()


@pytest.mark.parametrize("name", NAMES)
def test_every_class_is_described(name):
    entry = student_class(name)
    assert entry.description
    assert entry.lr > 0
    assert entry.growth > 1


@pytest.mark.parametrize("name", NAMES)
def test_ladders_start_at_a_few_thousand_parameters(name):
    for domain in student_class(name).domains:
        assert parameters(body_of(name, SHAPES[domain][1], width=4)) < 5000


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (entry.name, shapes[0])
        for entry in student_classes()
        for domain, shapes in SHAPES.items()
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


@pytest.mark.parametrize("domain", SHAPES)
def test_default_student_fits_its_domain(domain):
    entry = student_class(default_student(domain))
    assert domain in entry.domains
    for shape in SHAPES[domain]:
        entry.build(shape, 2)


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


@given(st.integers(1, 200), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_windows_cover_the_whole_side(side, most):
    kernel, stride, cells = windows(side, most)
    assert 1 <= cells <= most
    assert (cells - 1) * stride + kernel == side  # nothing is cropped
    assert 1 <= stride <= kernel  # nothing is skipped
