"""Two processes that train together do what one does: in a step, and in a whole training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from bdistil.zoo import build_teacher, train_teacher
from bdistil.zoo.data_parallel import ALONE, Share
from bdistil.zoo.training import least_batch

PROCESSES = 2
KINDS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "cnn": ("image", (2, 6, 6), {"channels": [4, 6], "hidden": 8}),  # with batch norm
    "gru": ("sequence", (5, 3), {"width": 6}),  # keeps lists of its weights
    "odd": ("tabular", (6,), {}),  # a user's, with whatever torch allows
}
STEPS = {"epochs": 4, "lr": 1e-2, "batch_size": 16, "weight_decay": 1e-4, "seed": 0}


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    domain, shape, options = KINDS[kind]
    if kind == "odd":
        norm = nn.BatchNorm1d(8, affine=False, momentum=None)
        model = nn.Sequential(nn.Linear(6, 8, bias=False), norm, nn.GELU(), nn.Linear(8, 3))
        model.register_parameter("idle", nn.Parameter(torch.ones(2)))
        return model
    return build_teacher(kind, domain, shape, 3, options)


def examples(kind: str, count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (count,), generator=generator)
    x = torch.randn(count, *KINDS[kind][1], generator=generator)
    return x + y.view(-1, *[1] * (x.dim() - 1)), y


def step(kind: str, share: Share) -> dict[str, Tensor]:
    """Gradients and buffers after one batch of 33, of which the second process has 16."""
    model, (x, y) = network(kind), examples(kind, 33)
    if not share.is_first:  # overwritten by the first's
        nn.init.normal_(next(model.parameters()))
    trained, batch = share.shared(model).train(), torch.arange(33).flip(0)
    rows = share.rows(batch)
    loss = nn.functional.cross_entropy(trained(x[rows]), y[rows]) * share.weight(batch)
    loss.backward()
    found = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    return found | dict(model.named_buffers())


def training(kind: str, share: Share) -> dict[str, Tensor]:
    """The weights, and the metric, of a whole training of 90 rows, whose batches are of 15."""
    model, told = network(kind), []
    data = [*examples(kind, 90), *examples(kind, 60, seed=2)]
    metric = train_teacher(
        *(model, *data),
        task="classification",
        **STEPS,
        share=share,
        progress=lambda epoch, *_: told.append(float(epoch)),
    )
    return dict(model.state_dict()) | {"metric": torch.tensor(metric), "told": torch.tensor(told)}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES
    )
    share = Share(rank, PROCESSES)
    found = {
        (kind, each.__name__): each(kind, share) for kind in KINDS for each in (step, training)
    }
    distributed.destroy_process_group()
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, dict[str, Tensor]]]:
    """What each of two processes has in the end."""
    folder = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(work, (str(folder),), nprocs=PROCESSES)
    return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(PROCESSES)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_the_gradient_of_the_whole_batch(kind: str, by_two: list[Any]) -> None:
    model, (x, y) = network(kind), examples(kind, 33)
    nn.functional.cross_entropy(model.train()(x), y).backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    expected |= dict(model.named_buffers())
    for found in by_two:
        torch.testing.assert_close(found[kind, "step"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_ends_where_that_of_one_does(kind: str, by_two: list[Any]) -> None:
    first, second = (each[kind, "training"] for each in by_two)
    alone = training(kind, ALONE)
    assert alone["metric"] > 0.5
    assert second.pop("told").numel() == 0
    assert second.pop("metric").isnan()
    torch.testing.assert_close(first, alone, rtol=1e-3, atol=1e-4)
    del first["metric"], first["told"]
    torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_each_row_has_its_place_and_counts_alike() -> None:
    batch = torch.arange(11)
    shares = [Share(rank, 4) for rank in range(4)]
    assert torch.cat([share.rows(batch) for share in shares]).tolist() == batch.tolist()
    for share in shares:  # the average over processes of weighted means is the mean over rows
        assert share.weight(batch) / 4 == pytest.approx(len(share.rows(batch)) / 11)
    assert len({share.seed(3) for share in shares}) == 4
    assert ALONE.seed(3) == 3
    assert least_batch(90, 64) == 45
