"""Data sets with files of their own: found, split as published, refused in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import published_files as files
import pytest

from bdistil.datasets.catalogue import list_datasets, load_dataset
from bdistil.errors import DataError, SpecError
from bdistil.spec import DataSpec

MAKERS = {
    "magic": ("", lambda root: files.write_magic(root)),
    "japanese_vowels": ("JapaneseVowels", files.write_japanese_vowels),
    "dsa19": ("daily-and-sports-activities", files.write_dsa),
    "google13": ("speech_commands_v0.01", files.write_speech_commands),
    "fashion_mnist": ("fashion-mnist", files.write_fashion_mnist),
    "cifar10": ("cifar-10-batches-bin", files.write_cifar10),
    "cifar100": ("cifar-100-binary", files.write_cifar100),
    "tiny_imagenet": ("tiny-imagenet-200", files.write_tiny_imagenet),
    "imagenet": ("imagenet", files.write_imagenet),
}
ENTRIES = {entry.name: entry for entry in list_datasets()}
NEEDS = {"google13": "torchaudio", "tiny_imagenet": "PIL", "imagenet": "PIL", "magic": "sklearn"}


def load(name, seed=0, **settings):
    return load_dataset(DataSpec(name=name, **settings), seed)


@pytest.fixture(params=MAKERS)
def name(request, tmp_path, monkeypatch):
    """A data set that stands in BDISTIL_DATA."""
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    folder, write = MAKERS[request.param]
    write(tmp_path / folder)
    monkeypatch.setenv("BDISTIL_DATA", str(tmp_path))
    return request.param


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100"], indirect=True)
def test_fewer_training_examples_keep_the_published_test_split(name):
    whole = load(name)
    asked = (len(whole.train) + len(whole.validation)) * 2 // 3
    part = load(name, options={"examples": asked})
    assert len(part.train) + len(part.validation) == asked
    np.testing.assert_array_equal(part.test.x, whole.test.x)


def test_files_in_the_publishers_layout_become_the_listed_data_set(name):
    entry, dataset = ENTRIES[name], load(name)
    assert entry.present, entry.remedy
    assert (dataset.name, dataset.domain) == (name, entry.domain)
    assert dataset.input_shape == entry.input_shape
    assert dataset.outputs == len(dataset.class_names)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.x.dtype == (np.uint8 if name.endswith("imagenet") else np.float32)
        assert split.y.dtype == np.int64
        assert split.x.shape == (len(split.y), *entry.input_shape)
        assert len(split) > 0
    if not name.endswith("imagenet"):  # the small ones have three classes of 200 or 1000
        assert name in ("google13",) or dataset.outputs == entry.classes


def test_no_example_stands_in_two_splits(name):
    dataset = load(name)
    splits = (dataset.train, dataset.validation, dataset.test)
    rows = [row.tobytes() for split in splits for row in np.asarray(split.x)]
    if name in ("japanese_vowels", "magic"):  # elsewhere the small files repeat themselves
        assert len(set(rows)) >= len(dataset.train) + len(dataset.validation)
    sizes = {seed: [len(split) for split in splits] for seed in (1, 2)}
    assert sizes[1] == sizes[2]


def test_a_published_test_split_is_the_same_for_every_seed_and_share(name):
    first, other = load(name, 1), load(name, 2, test=0.5)
    assert ENTRIES[name].published_test == np.array_equal(first.test.x, other.test.x)


def test_another_root_is_an_option(name, tmp_path, monkeypatch):
    here = load(name)
    monkeypatch.setenv("BDISTIL_DATA", str(tmp_path / "nothing"))
    there = load(name, options={"root": str(tmp_path)})
    np.testing.assert_array_equal(there.test.y, here.test.y)


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "magic"])
def test_a_missing_one_says_what_to_get_and_where_to_put_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("BDISTIL_DATA", str(tmp_path))
    entry = ENTRIES[name]
    if entry.present:
        pytest.skip(f"{name} is installed on this machine")
    with pytest.raises(DataError, match=r"missing: download .* so that .* exists") as caught:
        load(name)
    assert str(caught.value) == entry.remedy
    assert str(tmp_path) in entry.remedy
    assert "BDISTIL_DATA" in entry.remedy
    assert "\n" not in entry.remedy
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(DataError, match="elsewhere"):
        load(name, options={"root": str(elsewhere)})


def test_cifar_as_pickles_is_refused_with_the_reason(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"\x80\x02}q\x01.")
    with pytest.raises(DataError, match="pickle, which is never loaded"):
        load("cifar10", options={"root": str(tmp_path)})


def test_magic_without_network_is_one_sentence(tmp_path, monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")

    def unreachable(**_):
        raise OSError("Network is unreachable\nsecond line")

    monkeypatch.setattr(datasets, "fetch_openml", unreachable)
    with pytest.raises(DataError, match=r"cannot be fetched .*unreachable\); connect .* data.path"):
        load("magic", options={"root": str(tmp_path)})
    monkeypatch.setenv("BDISTIL_DATA", str(tmp_path))
    assert "openml.org" in ENTRIES["magic"].remedy


def test_magic_leaves_the_row_number_out(tmp_path):
    pytest.importorskip("sklearn")
    files.write_magic(tmp_path)
    dataset = load("magic", options={"root": str(tmp_path)})
    assert dataset.class_names == ("g", "h")
    for split in (dataset.train, dataset.validation, dataset.test):
        rows = split.x[:, 0]
        np.testing.assert_allclose(split.x, rows[:, None] + np.arange(10) / 16)
        np.testing.assert_array_equal(split.y, rows % 2)


def test_unknown_options_of_a_data_set_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"options.rot is unknown to cifar10; did you mean 'root'"):
        load("cifar10", options={"rot": str(tmp_path)})
    with pytest.raises(SpecError, match=r"options.test_people.0 is 9"):
        load("dsa19", options={"test_people": [9]})


def test_listing_them_loads_no_heavy_package(tmp_path):
    code = (
        "import sys; from bdistil.datasets.catalogue import list_datasets; "
        "[entry.remedy for entry in list_datasets()]; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchaudio', 'PIL', 'sklearn', 'aeon')))"
    )
    environment = os.environ | {"BDISTIL_DATA": str(tmp_path)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
