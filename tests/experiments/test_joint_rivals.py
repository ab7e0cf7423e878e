"""Networks with several exits that are trained as a whole: arithmetic, costs and training."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from rival_contest import contest_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.recipes import Recipe
from bdistil.core.student import Student, StudentConfig
from bdistil.errors import SearchError
from bdistil.experiments.rivals import joint_training
from bdistil.experiments.rivals.contest import Contest
from bdistil.experiments.rivals.joint_training import Exits, fit_jointly, train
from bdistil.experiments.rivals.methods import RIVALS
from bdistil.experiments.rivals.nested import Nested, as_ensemble, nested, nested_network
from bdistil.experiments.rivals.width_nested import (
    WidthNested,
    check_sliceable,
    streamed_costs,
    students_of,
    width_nested,
)
from bdistil.export.checkpoint import build_student


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    return contest_of(tmp_path_factory)


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return x * (1 + erf(x / np.sqrt(2))) / 2


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def units(body: nn.Module, x: np.ndarray, first: int) -> np.ndarray:
    """The first units of a body of one layer, by numpy."""
    [layer] = [each for each in body.modules() if isinstance(each, nn.Linear)]
    return gelu(x @ array(layer.weight)[:first].T + array(layer.bias)[:first])


def test_a_nested_exit_reads_its_student_and_all_before_it(contest: Contest) -> None:
    network = nested_network(contest)
    x = contest.test.inputs[:5]
    hidden: list[np.ndarray] = []
    for student, logits in zip(network.students, network(x), strict=True):
        hidden.append(units(student.body, array(x), student.features))
        head = student.head
        expected = np.concatenate(hidden, axis=1) @ array(head.weight).T + array(head.bias)
        np.testing.assert_allclose(array(logits), expected, atol=1e-5)


def test_a_nested_network_is_an_ensemble_of_its_students(contest: Contest) -> None:
    network = nested_network(contest)
    before = [each.clone() for each in network.parameters()]
    x = contest.test.inputs
    stages = list(as_ensemble(network, contest.outputs).stages(x))
    for stage, logits in zip(stages, network(x), strict=True):
        torch.testing.assert_close(stage, logits, atol=1e-5, rtol=0)
    assert all(map(torch.equal, before, network.parameters()))


def test_nested_exits_cost_what_torch_counts(contest: Contest) -> None:
    entries = nested(contest)
    for stage, entry in enumerate(entries, start=1):
        hidden = contest.widths()[:stage]
        inputs, outputs = 16, contest.outputs
        assert entry.flops == 2 * sum(hidden) * (inputs + outputs)
        assert entry.parameters == sum(hidden) * (inputs + 1 + outputs) + outputs
        heads = sum(2 * outputs * read for read in itertools.accumulate(hidden))
        assert entry.streamed == 2 * sum(hidden) * inputs + heads
    network = nested_network(contest)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 16))
    assert counter.get_total_flops() == entries[-1].streamed


def test_nested_answers_are_those_of_the_students_that_are_timed(contest: Contest) -> None:
    for name in ("nested", "width-nested", "average", "oracle"):
        for entry in RIVALS[name](contest):
            assert entry.runs is not None
            answers = entry.runs(contest.test.inputs)
            torch.testing.assert_close(answers, entry.test, atol=1e-4, rtol=1e-4)


def test_a_narrower_exit_is_the_first_units_of_the_widest(contest: Contest) -> None:
    network = WidthNested(students_of(contest))
    for head in network.heads:
        nn.init.normal_(head.weight)
    x = contest.test.inputs[:5]
    for head, logits in zip(network.heads, network(x), strict=True):
        hidden = units(network.body, array(x), head.in_features)
        expected = hidden @ array(head.weight).T + array(head.bias)
        np.testing.assert_allclose(array(logits), expected, atol=1e-5)
    answers = network(x)
    for student, logits in zip(network.standing_alone(), answers, strict=True):
        torch.testing.assert_close(student(x, [])[0], logits, atol=1e-6, rtol=0)


def test_widths_cost_what_students_of_them_do(contest: Contest) -> None:
    entries = width_nested(contest)
    widths = [contest.width(budget) for budget in contest.budgets]
    inputs, outputs = 16, contest.outputs
    for stage, (entry, width) in enumerate(zip(entries, widths, strict=True), start=1):
        assert entry.flops == 2 * width * (inputs + outputs)
        assert entry.streamed == 2 * width * inputs + 2 * outputs * sum(widths[:stage])


def convnets() -> list[Student]:
    config = [StudentConfig("convnet", width, "none", skip=False) for width in (2, 3)]
    return [build_student(each, (1, 8, 8), 3, ()) for each in config]


def test_convnets_share_their_first_channels_and_start_over() -> None:
    students = convnets()
    network = WidthNested(students)
    x = torch.randn(4, 1, 8, 8)
    answers = network(x)
    assert streamed_costs([100, 150], students) == [100, 250]
    for student, logits in zip(network.standing_alone(), answers, strict=True):
        torch.testing.assert_close(student(x, [])[0], logits, atol=1e-6, rtol=0)
    first, *_ = (each for each in network.body.modules() if isinstance(each, nn.Conv2d))
    narrow, *_ = (each for each in students[0].body.modules() if isinstance(each, nn.Conv2d))
    assert torch.equal(first.weight[:2], narrow.weight)


def test_bodies_that_cannot_be_sliced_are_refused() -> None:
    student = build_student(StudentConfig("gru", 3, "none", skip=False), (5, 2), 3, ())
    with pytest.raises(SearchError, match="gru has a GRU; take another"):
        check_sliceable(student)


def test_all_exits_are_fitted_at_every_step(contest: Contest) -> None:
    network = nested_network(contest)
    before = [student.head.weight.clone() for student in network.students]
    train(network, contest, contest.recipe(1, 0), seed=0, epochs=1)
    for head, student in zip(before, network.students, strict=True):
        assert not torch.equal(head, student.head.weight)


class Constant(Exits):
    """A network that answers with its parameters, whatever it is asked."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(2, outputs))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [row.expand(len(x), -1) for row in self.logits]


def test_constants_learn_the_best_constant(contest: Contest) -> None:
    """What the loss asks for: the mean of labels and teacher's probabilities by their shares."""
    network = Constant(contest.outputs)
    recipe = dataclasses.replace(contest.recipe(1, 0), lr=0.05)  # enough to arrive
    train(network, contest, recipe, seed=0, epochs=60)
    labels = torch.nn.functional.one_hot(contest.train.labels, contest.outputs).double()
    share, tau = recipe.label_share, recipe.temperature
    assert tau == 1
    taught = contest.train.teacher_logits.double().softmax(dim=1)
    expected = (share * labels + (1 - share) * taught).mean(dim=0)
    for row in network.logits.double().softmax(dim=1):
        torch.testing.assert_close(row.detach(), expected, atol=0.02, rtol=0)


def test_the_candidate_with_the_least_mean_loss_of_all_exits_is_kept(
    contest: Contest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Constant] = []

    def build() -> Constant:
        made.append(Constant(contest.outputs))
        return made[-1]

    def untrained(network: Exits, of: Contest, recipe: Recipe, seed: int, epochs: int) -> None:
        pass

    monkeypatch.setattr(joint_training, "train", untrained)
    found = fit_jointly(contest, build, passes=3)
    losses = [
        sum(
            contest.measure.loss(each, contest.validation)
            for each in network(contest.validation.inputs)
        )
        for network in made
    ]
    assert found.network is made[int(np.argmin(losses))]
    assert found.epochs == 3 * 6 * len(made)
    assert len(made) == contest.candidates


def test_a_diverged_candidate_is_left_out(
    contest: Contest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(network: Constant, of: Contest, recipe: Recipe, seed: int, epochs: int) -> None:
        if seed in contest.seeds(1)[:broken]:
            nn.init.constant_(network.logits, float("nan"))

    monkeypatch.setattr(joint_training, "train", diverged)
    broken = 1
    found = fit_jointly(contest, lambda: Constant(contest.outputs))
    assert torch.isfinite(found.network.logits).all()
    broken = contest.candidates
    with pytest.raises(SearchError, match="every candidate of a rival failed"):
        fit_jointly(contest, lambda: Constant(contest.outputs))


def test_joint_training_sees_the_copies_that_the_search_has(
    contest: Contest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    viewed = contest_of(tmp_path_factory, "data.views={copies: 2, noise: 0.3}")
    ours, theirs = (nested(each)[0].test for each in (viewed, contest))
    assert not torch.equal(ours, theirs)


def test_longer_training_costs_more(contest: Contest) -> None:
    short, long = (RIVALS[name](contest)[-1] for name in ("nested", "nested-long"))
    assert short.trained == short.streamed * 6 * contest.candidates
    assert long.trained == short.trained * contest.stages


def test_a_network_of_one_student_is_that_student(contest: Contest) -> None:
    student = build_student(StudentConfig("mlp", 3, "dense", skip=False), (16,), 4, ())
    [alone] = Nested([student])(contest.test.inputs)
    torch.testing.assert_close(alone, ProgressiveEnsemble(4, [student])(contest.test.inputs))
