"""What is said of data: counts and guesses against independent arithmetic."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, r2_score

from bdistil.data.data_card import DataCard, stored_card
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import CheckpointError
from bdistil.spec import DataSpec

ROWS = 100
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(size=ROWS),
        "kind": RNG.choice(["x", "y"], ROWS),
        "junk": 1,
        "label": np.where(np.arange(ROWS) % 4 == 0, "rare", "common"),
        "price": RNG.gamma(2, size=ROWS),
        "hot": (np.arange(ROWS) % 3 == 0).astype(int),
        "wet": (np.arange(ROWS) % 3 != 1).astype(int),
    }
)


@pytest.fixture
def load(tmp_path):
    FRAME.to_parquet(tmp_path / "mine.parquet")

    def load(**settings):
        return load_dataset(DataSpec(path=tmp_path / "mine.parquet", **settings), 0)

    return load


def test_counts_columns_and_the_majority(load):
    dataset = load(ignore=["junk", "price", "hot", "wet"])
    card = dataset.card
    assert card.rows == ROWS
    for index, name in enumerate(dataset.class_names):
        counts = [(s.y == index).sum() for s in (dataset.train, dataset.validation, dataset.test)]
        assert card.classes[name] == tuple(counts)
    assert card.guess == "always common"
    assert card.guess_metric == pytest.approx((dataset.test.y == 0).mean())
    assert {note.name: note.use for note in card.columns} == {
        "size": "numbers",
        "kind": "categories, one-hot",
        "label": "label",
        **dict.fromkeys(("junk", "price", "hot", "wet"), "left out (data.ignore)"),
    }
    first, *lines = card.lines()
    assert first == "mine.parquet: 100 rows, tabular with 3 features, classification"
    assert "splits: 60 train, 20 validation, 20 test; by chance, stratified by class" in lines
    assert "left out (data.ignore): junk, price, hot, wet" in lines


def test_the_mean_of_a_regression(load):
    dataset = load(label="price", features=["size"])
    guess = np.full_like(dataset.test.y, dataset.train.y.mean())
    assert dataset.card.guess_metric == pytest.approx(r2_score(dataset.test.y, guess), abs=1e-5)
    error = np.sqrt(np.square(dataset.test.y - guess).mean())
    assert f"root mean square error {error:.4g}" in dataset.card.guess
    assert dataset.card.classes is None


def test_the_commonest_labels(load):
    dataset = load(label=["hot", "wet"], features=["size"])
    y, test = dataset.train.y, dataset.test.y
    sets = [np.array(own) for own in product([0, 1], repeat=2) if any(own)]
    always = max(sets, key=lambda own: f1_score(y, np.tile(own, (len(y), 1)), average="micro"))
    expected = f1_score(test, np.tile(always, (len(test), 1)), average="micro")
    assert dataset.card.guess_metric == pytest.approx(expected)
    assert f"always the {always.sum()} commonest label" in dataset.card.guess
    assert dataset.card.classes["wet"][0] == dataset.train.y[:, 1].sum()


def test_a_card_survives_as_json(load, tmp_path):
    card = load(features=["size"]).card
    path = tmp_path / "data.json"
    path.write_text(card.model_dump_json())
    assert stored_card(path) == card
    assert DataCard.model_validate(json.loads(path.read_text())) == card
    assert stored_card(tmp_path / "none.json") is None
    path.write_text("{}")
    with pytest.raises(CheckpointError, match="is damaged"):
        stored_card(path)


def test_many_classes_are_not_all_listed(tmp_path):
    pd.DataFrame({"x": np.arange(200) / 7, "label": np.arange(200) % 40}).to_csv(
        tmp_path / "mine.csv", index=False
    )
    card = load_dataset(DataSpec(path=tmp_path / "mine.csv"), 0).card
    line = next(line for line in card.lines() if line.startswith("classes"))
    assert line.endswith("and 20 more")


def test_named_data_sets_have_one_too():
    card = load_dataset(DataSpec(name="digits"), 0).card
    assert card.rows == 1797
    assert card.source.startswith("digits (")
