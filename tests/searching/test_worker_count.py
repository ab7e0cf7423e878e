"""Small searches run in the command's own process, larger ones on workers, and it is said."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from reporters import Heard
from tiny import TINY, tiny

from bdistil.cluster import launch
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilWarning
from bdistil.searching.backend import Backend
from bdistil.searching.local import LocalBackend
from bdistil.searching.resolve import resolve
from bdistil.searching.worker_count import (
    count_workers,
    seconds_of_training,
    told_precision,
    told_workers,
)
from bdistil.spec import Spec, load_spec


def open_spec(*overrides: str) -> Spec:
    return load_spec(TINY | {"workers": {}}, overrides)


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        ((), 0),
        (("space.epochs=4000",), 2),
        (("search.rounds=100", "search.tries_per_class=100"), 2),
        (("workers.gpus=0.5",), 2),
        (("teacher.workers=2",), 2),
        (("workers.count=0", "space.epochs=4000"), 0),
        (("workers.count=3",), 3),
    ],
)
def test_the_number_follows_from_the_work(overrides: tuple[str, ...], count: int) -> None:
    spec = open_spec(*overrides)
    assert resolve(spec, load_dataset(spec.data, spec.seed)).workers.count == count


@pytest.mark.parametrize(
    ("capabilities", "overrides", "told"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, ["search.precision=bf16"], True),
        ({"avx512_bf16": False, "amx_bf16": True}, ["search.precision=bf16"], False),
        ({"avx512_bf16": False, "amx_bf16": False}, ["teacher.precision=bf16"], True),
        ({"avx512_bf16": False, "amx_bf16": False}, [], False),
        ({"avx512_bf16": False}, ["search.precision=bf16", "workers.gpus=1"], False),
        ({"sve": True}, ["search.precision=bf16"], False),
    ],
)
def test_a_processor_without_bf16_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    overrides: list[str],
    told: bool,
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities, raising=False)
    assert ("no instructions for bf16" in told_precision(open_spec(*overrides))) == told


def test_more_of_anything_takes_longer() -> None:
    def seconds(*overrides: str) -> float:
        spec = tiny(*overrides)
        dataset = load_dataset(spec.data, spec.seed)
        return seconds_of_training(resolve(spec, dataset), dataset)

    least = seconds()
    for more in (
        "space.epochs=8",
        "search.rounds=8",
        "search.tries_per_class=4",
        "space.ladder=[600]",
        "data.options={examples: 6000}",
    ):
        assert seconds(more) > least, more


def test_a_small_search_starts_no_ray_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("Ray")

    monkeypatch.setattr("bdistil.cluster.ray_backend.RayBackend", refuse)
    heard = Heard()
    run = launch.launch_search(open_spec("search.rounds=1"), tmp_path / "run", reporter=heard)
    assert run.run.spec().workers.count == 0
    assert any(line.startswith("workers: none, as candidates train for") for line in heard.messages)


@pytest.mark.parametrize("field", ["workers.gpus", "teacher.workers"])
def test_what_wants_workers_is_named(field: str) -> None:
    spec = open_spec("search.rounds=1", f"{field}=2")
    dataset = load_dataset(spec.data, 0)
    assert count_workers(spec, dataset) == 2
    assert field in told_workers(spec, dataset)
    assert "candidates train for" in told_workers(open_spec("search.rounds=1"), dataset)


@pytest.mark.parametrize("named", ["argument", "environment", "nowhere"])
def test_a_named_cluster_is_used(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    found: list[str] = []

    class Ray(LocalBackend):
        def __init__(self, address: str | None, verbose: bool) -> None:
            super().__init__()
            found.append("Ray")

    monkeypatch.setattr("bdistil.cluster.ray_backend.RayBackend", Ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if named == "environment":
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    address = "10.0.0.1:6379" if named == "argument" else None
    spec = launch.with_workers(open_spec(), address)
    backend: Backend = launch.choose_backend(spec.workers, address)
    backend.check(resolve(spec, load_dataset(spec.data, spec.seed)))
    assert (found == ["Ray"]) == (named != "nowhere")


def test_a_named_cluster_without_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    workers = tiny("workers.count=0").workers
    with pytest.warns(BdistilWarning, match=r"at 10\.0\.0\.1:6379 is not used, as workers\.count"):
        assert isinstance(launch.choose_backend(workers, "10.0.0.1:6379"), LocalBackend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is set for all commands need not suit this one
        launch.choose_backend(workers)
