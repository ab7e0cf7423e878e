"""Exits on the teacher itself: where they are, what they read, what they cost, who is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from rival_contest import contest_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bdistil.errors import SearchError
from bdistil.experiments.rivals.contest import Contest
from bdistil.experiments.rivals.methods import RIVALS
from bdistil.experiments.rivals.teacher_blocks import places_in, run_up_to
from bdistil.experiments.rivals.teacher_exits import TeacherExits, averaged
from bdistil.names import Domain
from bdistil.zoo import build_teacher

DOMAIN_OF: dict[int, Domain] = {1: "tabular", 2: "sequence", 3: "image"}
METHODS = ("teacher-exits", "teacher-exits-reuse")


def deep() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(16, 16), nn.ReLU()] * 1
    blocks = [nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(5)]
    return nn.Sequential(*layers, *blocks, nn.Linear(16, 4)).eval()


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    return contest_of(tmp_path_factory, teacher=True)


def test_places_are_spread_over_the_teachers_cost() -> None:
    places = places_in(deep(), (16,), 2)
    assert [place.name for place in places] == ["2", "4"]  # 2 and 4 of 6.25 layers
    assert [place.flops for place in places] == [2 * 512, 4 * 512]
    assert [place.parameters for place in places] == [2 * 272, 4 * 272]


def test_an_activation_belongs_to_its_layer() -> None:
    teacher = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    assert [place.name for place in places_in(teacher, (8,), 4)] == ["1", "3"]


def test_blocks_are_looked_for_no_deeper_than_needed() -> None:
    inside = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    teacher = nn.Sequential(inside, nn.Linear(8, 2))
    assert [place.name for place in places_in(teacher, (8,), 1)] == ["0"]
    assert [place.name for place in places_in(teacher, (8,), 2)] == ["0.0", "0.1"]


def test_layers_that_run_twice_are_no_places() -> None:
    layer = nn.Linear(8, 8)
    teacher = nn.Sequential(layer, nn.Linear(8, 8), layer, nn.Linear(8, 2))
    assert [place.name for place in places_in(teacher, (8,), 3)] == ["1"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet", (1, 16, 16)), ("cnn1d", (20, 3)), ("mlp", (16,)), ("gru", (9, 3))],
)
def test_teachers_of_the_zoo_have_blocks(name: str, shape: tuple[int, ...]) -> None:
    domain = DOMAIN_OF[len(shape)]
    teacher = build_teacher(name, domain, shape, 4, {}).eval()
    before = copy.deepcopy(teacher.state_dict())
    places = places_in(teacher, shape, 1)
    network = TeacherExits(teacher, places, 4, reuse=True)
    [logits] = network(torch.randn(3, *shape))
    assert logits.shape == (3, 4)
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


def test_what_comes_after_a_place_does_not_run() -> None:
    teacher = deep()
    x = torch.randn(5, 16)
    with FlopCounterMode(display=False) as counter:
        outputs = run_up_to(teacher, ["2", "3"], x)
    assert counter.get_total_flops() == 5 * 3 * 512
    torch.testing.assert_close(outputs[1], teacher[:4](x))
    assert not any(module._forward_hooks for module in teacher.modules())


def test_an_exit_reads_its_block_and_with_reuse_the_answer_before() -> None:
    teacher, x = deep(), torch.randn(5, 16)
    network = TeacherExits(teacher, places_in(teacher, (16,), 2), 4, reuse=True)
    first, second = network(x)
    one, two = network.heads
    torch.testing.assert_close(first, teacher[:3](x) @ one.weight.T + one.bias)
    read = torch.cat([teacher[:5](x), first.softmax(dim=1)], dim=1)
    torch.testing.assert_close(second, read @ two.weight.T + two.bias)
    second.sum().backward()
    assert one.weight.grad is None
    assert all(each.grad is None for each in teacher.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_exits_cost_what_torch_counts_and_end_in_the_teacher(contest: Contest, method: str) -> None:
    assert contest.teacher is not None
    before = copy.deepcopy(contest.teacher.state_dict())
    entries = RIVALS[method](contest)
    assert all(torch.equal(before[key], each) for key, each in contest.teacher.state_dict().items())
    x = contest.test.inputs
    for entry in entries:
        assert entry.runs is not None
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            entry.runs(x[:1])
        assert counter.get_total_flops() == entry.flops <= entry.streamed
        with torch.no_grad():
            answers = entry.runs(x)
        expected = entry.test
        if entry is entries[-1]:  # a search centres the teacher's logits
            answers = answers - answers.mean(dim=1, keepdim=True)
            expected = expected - expected.mean(dim=1, keepdim=True)
        torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(entries[-1].test, contest.test.teacher_logits)


def test_exits_learn_something(contest: Contest) -> None:
    first = RIVALS["teacher-exits"](contest)[0]
    constant = contest.measure.best_constant([contest.train]).expand_as(first.validation)
    assert contest.loss(first) < contest.measure.loss(constant, contest.validation)


@pytest.mark.parametrize("method", METHODS)
def test_other_teachers_are_refused(tmp_path_factory: pytest.TempPathFactory, method: str) -> None:
    with pytest.raises(SearchError, match="this teacher is none that is at hand"):
        RIVALS[method](contest_of(tmp_path_factory))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1]


def test_teachers_without_blocks_have_no_places() -> None:
    assert places_in(Pair(), (5, 3), 2) == []


def test_feature_maps_are_averaged_in_cells() -> None:
    assert averaged(torch.zeros(2, 3, 8, 2)).shape == (2, 3 * 4 * 2)
    x = torch.randn(2, 5, 7)
    torch.testing.assert_close(averaged(x), torch.cat([x.mean(1), x.mean(2)], 1))
    assert averaged(torch.zeros(2, 6)).shape == (2, 6)
