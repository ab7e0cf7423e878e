"""What ``config.json`` says is what was written: temperatures, names and fills are not changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployed import config_to_change, deploy, examples

from bdistil import Predictor
from bdistil.errors import CheckpointError
from bdistil.export.ensemble import Ensemble
from bdistil.runtime.hashes import CONFIG_HASH


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ("Öl", "Bär", "\u2028")
    deploy(tmp_path, ("mlp", 3, "dense", True), ("mlp", 2, "none", True), class_names=names)
    return tmp_path


def load_in_both_ways(folder: Path) -> list[Any]:
    return [Predictor(folder, backend="torch"), Ensemble.from_pretrained(folder)]


def refused(folder: Path, sentence: str) -> None:
    for load in (Predictor, Ensemble.from_pretrained):
        with pytest.raises(CheckpointError, match=sentence):
            load(folder)


def test_each_digit_of_a_temperature_counts(folder: Path) -> None:
    config = folder / "config.json"
    text = config.read_text()
    for temperature in json.loads(text)["calibration"]["temperatures"]:
        written = str(temperature)
        for place in [place for place, letter in enumerate(written) if letter.isdigit()]:
            other = written[:place] + str((int(written[place]) + 1) % 10) + written[place + 1 :]
            if float(other) == temperature:  # the last of 17 digits may say nothing
                continue
            config.write_text(text.replace(written, other, 1))
            refused(folder, r"config\.json( is damaged|.*temperatures)")
    config.write_text(text)
    load_in_both_ways(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", ["Bär", "Öl", "\u2028"]),  # exchanged
        ("name", "another"),
        ("calibration", None),
        ("figures", None),
        ("one more", 1),
        (CONFIG_HASH, None),
        (CONFIG_HASH, "0" * 64),
    ],
)
def test_a_change_is_told_with_what_allows_it(folder: Path, key: str, value: Any) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    refused(folder, "damaged or was changed.*or delete config_hash from it if the change is yours")


def test_a_change_of_ones_own_is_taken_without_the_hash(folder: Path) -> None:
    config = config_to_change(folder)
    (folder / "config.json").write_text(json.dumps(config | {"class_names": ["a", "b", "c"]}))
    for loaded in load_in_both_ways(folder):
        assert set(loaded.predict(examples("mlp"))) <= {"a", "b", "c"}


def test_spacing_and_order_of_keys_are_no_change(folder: Path) -> None:
    config = folder / "config.json"
    before = Predictor(folder).predict_proba(examples("mlp"))
    content = json.loads(config.read_text())
    config.write_text(json.dumps(dict(reversed(content.items())), separators=(",", ":")))
    for loaded in load_in_both_ways(folder):
        assert len(loaded) == 2
    np.testing.assert_array_equal(Predictor(folder).predict_proba(examples("mlp")), before)


def test_what_is_saved_again_has_a_hash_of_its_own(folder: Path, tmp_path: Path) -> None:
    Ensemble.from_pretrained(folder).truncated(1).save_pretrained(tmp_path / "one")
    places = (folder, tmp_path / "one")
    hashes = [json.loads((p / "config.json").read_text())[CONFIG_HASH] for p in places]
    assert hashes[0] != hashes[1]
    load_in_both_ways(tmp_path / "one")
