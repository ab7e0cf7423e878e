"""Parts of the data as they travel: by bytes, or by the path of a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import ClusterError
from bdistil.searching import problem
from bdistil.searching.problem import MappedPart, build_problem, shard_rows, training_shards
from bdistil.spec import DataSpec

ROWS = 5000


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    folder = tmp_path_factory.mktemp("data") / "mine"
    folder.mkdir()
    random = np.random.default_rng(0)
    arrays = {"x": random.random((ROWS, 3)), "y": random.integers(2, size=ROWS)}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder.with_suffix(".npz"), **arrays)
    whole, mapped = (
        load_dataset(DataSpec(path=path), 0) for path in (folder.with_suffix(".npz"), folder)
    )
    return whole, mapped


def logits_of(dataset: Dataset) -> dict[str, Any]:
    names = ("train", "validation", "test")
    sizes = {name: len(getattr(dataset, name)) for name in names}
    return {name: np.ones((size, 2), np.float32) for name, size in sizes.items()}


def test_mapped_parts_hold_what_others_hold_and_travel_as_a_path(
    datasets: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "INPUT_BYTES", 1024 * 3 * 4)
    whole, mapped = (list(training_shards(data, logits_of(data))) for data in datasets)
    assert [len(part) for part in mapped] == [len(part) for part in whole] == [1024, 1024, 952]
    for mine, yours in zip(mapped, whole, strict=True):
        assert isinstance(mine, MappedPart)
        travelled = pickle.dumps(mine, protocol=5)
        assert len(travelled) < mine.inputs.nbytes + mine.teacher_logits.nbytes + mine.labels.nbytes
        buffers: list[Any] = []
        assert len(pickle.dumps(mine, protocol=5, buffer_callback=buffers.append)) < 1000
        assert sum(buffer.raw().nbytes for buffer in buffers) == mine.teacher_logits.nbytes + (
            mine.labels.nbytes
        )
        for part in (mine, pickle.loads(travelled), mine.unmapped()):
            for field in ("inputs", "teacher_logits", "labels"):
                np.testing.assert_array_equal(getattr(part, field), getattr(yours, field))
        assert not isinstance(mine.unmapped(), MappedPart)


def test_the_validation_split_is_mapped_too(datasets: tuple[Dataset, Dataset]) -> None:
    whole, mapped = (build_problem(data, logits_of(data)).validation for data in datasets)
    assert isinstance(mapped, MappedPart)
    np.testing.assert_array_equal(mapped.inputs, whole.inputs)


def test_a_node_without_the_file_says_so(datasets: tuple[Dataset, Dataset]) -> None:
    part = next(training_shards(datasets[1], logits_of(datasets[1])))
    assert isinstance(part, MappedPart)
    with pytest.raises(ClusterError, match=r"none\.npy cannot be read on this node"):
        problem.open_part(Path("none.npy"), part.rows, part.teacher_logits, part.labels)


@pytest.mark.parametrize(("outputs", "features"), [(2, 1), (2, 10**5), (1000, 1), (10, 10**9)])
def test_shards_are_small_in_margin_and_inputs(outputs: int, features: int) -> None:
    cut = list(shard_rows(10**7, outputs, features))
    sizes = [rows.stop - rows.start for rows in cut]
    assert sum(sizes) >= 10**7
    assert max(sizes) == 1024 or (
        max(sizes) * outputs * 4 <= problem.SHARD_BYTES
        and max(sizes) * features * 4 <= problem.INPUT_BYTES
    )
