"""Data lie where they train if they fit, and then no batch is copied from the host."""

import types

import pytest
import torch
from tiny_students import build, quick, toy_examples, toy_round, trained_alike
from torch.utils._python_dispatch import TorchDispatchMode

from bdistil.core.find_weak_learner import find_weak_learner
from bdistil.core.objective import Objective
from bdistil.core.placement import home, size_of, training_device
from bdistil.errors import BdistilWarning

GIGABYTE = 2**30


@pytest.fixture
def gpu_of_ten_gigabytes(monkeypatch):
    properties = types.SimpleNamespace(total_memory=10 * GIGABYTE)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


@pytest.mark.parametrize(("gpus", "limit"), [(1, 5), (0.5, 2.5), (2, 5)])
def test_half_of_a_workers_share_of_the_gpu_is_for_data(gpu_of_ten_gigabytes, gpus, limit):
    size = int(limit * GIGABYTE)
    assert home(size, "cuda", gpus).type == "cuda"
    assert home(size + 1, "cuda", gpus).type == "cpu"


def test_on_a_cpu_data_lie_where_they_are():
    assert home(10**18, "cpu").type == "cpu"


def test_a_worker_trains_on_its_share_of_the_gpu(monkeypatch):
    fractions = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    assert [training_device(gpus).type for gpus in (0, 0.25, 1, 2)] == ["cpu", *["cuda"] * 3]
    assert fractions == [0.25, 1, 1]


def test_a_gpu_that_torch_does_not_see_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(BdistilWarning, match=r"workers\.gpus is 0\.5, but torch sees no GPU"):
        assert training_device(0.5).type == "cpu"


def test_sizes_are_bytes_and_count_all_tensors():
    assert size_of([torch.zeros(3, 5), None, torch.zeros(2, dtype=torch.int64)]) == 60 + 16
    examples = toy_examples(7)
    row = 4 * (6 + 3 + 3) + 8  # inputs, teacher, ensemble; labels
    assert examples.nbytes == 7 * row


class Moves(TorchDispatchMode):
    """Counts copies from one device to another."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function._schema.name in ("aten::_to_copy", "aten::copy_"):
            source = args[1] if function._schema.name == "aten::copy_" else args[0]
            self.count += source.device != result.device
        return result


def test_training_on_resident_data_moves_nothing():
    state = toy_round([trained_alike(build(4))])
    with Moves() as moves:
        find_weak_learner(build(5, "dense", True, (4,)), state, quick("accurate"))
    assert moves.count == 0


@pytest.mark.parametrize(("place", "expected"), [("meta", 0), ("cpu", 6)])
def test_only_batches_of_data_elsewhere_are_copied(place, expected):
    state = toy_round([trained_alike(build(4))])
    (shard,) = state.train.shards
    part = shard.take(slice(None)).to(place)
    (shard,) = state.train.with_margins(
        [shard.game.margin.to(place)], shard.game.summary.to(place), [part.earlier]
    ).shards
    shard = type(shard)(part.inputs, part.teacher_logits, part.labels, shard.game, shard.earlier)
    objective = Objective(state, quick("accurate"), True, "meta")
    with Moves() as moves:
        batch = objective.batch(shard, torch.arange(16, device=place))
    assert moves.count == expected  # inputs, teacher, labels, ensemble, hidden states, preference
    tensors = (batch.examples.inputs, batch.examples.earlier[0].features, batch.preference)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
