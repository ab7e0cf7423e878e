"""Images: pixels and labels land where they belong, damaged files are named."""

from __future__ import annotations

import gzip
import os

import numpy as np
import published_files as files
import pytest

from bdistil.datasets.catalogue import list_datasets, load_dataset
from bdistil.datasets.cifar import read_batches
from bdistil.datasets.fashion_mnist import fashion_mnist, read_idx
from bdistil.errors import DataError, SpecError
from bdistil.spec import DataSpec


def load(name, root, **options):
    return load_dataset(DataSpec(name=name, options={"root": str(root), **options}), 0)


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_packed_or_in_torchvisions_folder(tmp_path, packed):
    folder = tmp_path / ("fashion-mnist" if packed else "FashionMNIST/raw")
    files.write_fashion_mnist(folder, packed)
    dataset = load("fashion_mnist", tmp_path)
    assert len(dataset.train) + len(dataset.validation) == 40
    assert len(dataset.test) == 20
    for split in (dataset.train, dataset.validation, dataset.test):
        places = split.x[:, 0, :, 3].argmax(axis=1)
        np.testing.assert_array_equal(places, split.y)
        assert split.x.max() >= 200
    assert dataset.class_names[9] == "Ankle boot"


def test_fewer_training_examples_keep_their_classes_in_proportion_and_the_test_split(tmp_path):
    files.write_fashion_mnist(tmp_path / "fashion-mnist")
    whole, part, again = (
        load("fashion_mnist", tmp_path, **o) for o in ({}, *[{"examples": 20}] * 2)
    )
    assert len(part.train) + len(part.validation) == 20
    labels = np.concatenate([part.train.y, part.validation.y])
    assert set(np.bincount(labels, minlength=10)) == {2}
    np.testing.assert_array_equal(part.test.x, whole.test.x)
    np.testing.assert_array_equal(part.train.x, again.train.x)
    with pytest.raises(SpecError, match=r"data\.options\.examples is 1: "):
        load("fashion_mnist", tmp_path, examples=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no idx file"),
        (b"\0\0\x0d\1\0\0\0\2ab", "no idx file of bytes"),
        (b"\0\0\x08\1\0\0\0\3ab", r"no array of shape \[3\]"),
        (b"\0\0\x08\3\0\0", "no idx file"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_idx_files_are_named(tmp_path, content, message, packed):
    path = tmp_path / ("a-idx.gz" if packed else "a-idx")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_cut_gz_file_is_named(tmp_path):
    files.write_fashion_mnist(tmp_path / "fashion-mnist")
    path = tmp_path / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz: the file cannot be read"):
        load("fashion_mnist", tmp_path)


def test_images_and_labels_of_different_number_do_not_belong_together(tmp_path):
    files.write_fashion_mnist(tmp_path / "fashion-mnist")
    path = tmp_path / "fashion-mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(files.idx(np.arange(39) % 10)))
    with pytest.raises(DataError, match="40 images and 39 labels of train"):
        load("fashion_mnist", tmp_path)


def test_the_real_fashion_mnist():
    entry = next(e for e in list_datasets() if e.name == "fashion_mnist")
    if not entry.present:
        pytest.skip("FashionMNIST is not installed (dataset-fashion-mnist)")
    dataset = fashion_mnist(seed=0, validation=0.1, test=0.2)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == entry.examples
    assert np.bincount(dataset.train.y).tolist() == [5400] * 10
    assert np.bincount(dataset.test.y).tolist() == [1000] * 10
    # The figures that are quoted everywhere: mean .2860, deviation .3530 on a scale from 0 to 1.
    assert dataset.standardisation.shift.item() / 255 == pytest.approx(0.2860, abs=1e-3)
    assert dataset.standardisation.scale.item() / 255 == pytest.approx(0.3530, abs=1e-3)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_rows_become_channels_rows_and_columns(tmp_path, name):
    (files.write_cifar10 if name == "cifar10" else files.write_cifar100)(tmp_path / "bin")
    dataset = load(name, tmp_path / "bin")
    for split in (dataset.train, dataset.validation, dataset.test):
        assert (split.x[:, 0] == split.y[:, None, None]).all()
        assert (split.x[:, 1] == np.arange(32)[:, None]).all()
        assert (split.x[:, 2] == np.arange(32)).all()
    assert len(dataset.validation) == (20 if name == "cifar10" else 100)  # at least one a class
    assert dataset.class_names[3] == ("cat" if name == "cifar10" else "thing_3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing or unreadable"),
        (b"", "0 bytes"),
        (b"\0" * 3072, "3072 bytes, which is no multiple of 3073"),
        (b"\x0a" * 3073, "label 10, but there are 10 classes"),
    ],
)
def test_damaged_cifar_batches_are_named(tmp_path, content, message):
    path = tmp_path / "data_batch_3.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_3.bin: .*{message}"):
        read_batches([path], label_bytes=1, classes=10)


class TestPhotographs:
    @pytest.fixture(autouse=True)
    def _needs_pillow(self):
        pytest.importorskip("PIL")

    @pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet"])
    def test_each_photograph_keeps_its_label_in_every_split(self, tmp_path, name):
        (files.write_tiny_imagenet if name == "tiny_imagenet" else files.write_imagenet)(tmp_path)
        dataset = load(name, tmp_path)
        assert dataset.class_names == tuple(sorted(files.COLOURS))
        for split in (dataset.train, dataset.validation, dataset.test):
            strongest = np.asarray(split.x).mean(axis=(2, 3)).argmax(axis=1)
            np.testing.assert_array_equal(strongest, split.y)
            assert set(split.y) == {0, 1, 2}

    def test_features_stay_on_disk(self, tmp_path):
        files.write_imagenet(tmp_path)
        dataset = load("imagenet", tmp_path, side=32)
        assert dataset.input_shape == (3, 32, 32)
        for split in (dataset.train, dataset.validation, dataset.test):
            assert isinstance(split.x, np.memmap)
        assert np.asarray(dataset.train.x).base is not None

    def test_images_are_decoded_once(self, tmp_path):
        files.write_imagenet(tmp_path)
        first = load("imagenet", tmp_path)
        for file in (tmp_path / "train").rglob("*.JPEG"):
            stat = file.stat()
            file.write_bytes(b"x" * stat.st_size)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        again = load("imagenet", tmp_path)
        np.testing.assert_array_equal(first.train.x, again.train.x)
        next((tmp_path / "train").rglob("*.JPEG")).unlink()  # another list of files: a new cache
        with pytest.raises(DataError, match=r"photographs cannot be read: .*no image"):
            load("imagenet", tmp_path)
        assert not list(tmp_path.rglob("*.part"))

    def test_a_class_without_images_is_named(self, tmp_path):
        files.write_imagenet(tmp_path)
        for file in (tmp_path / "val" / "n02123045").iterdir():
            file.unlink()
        with pytest.raises(DataError, match="val: class folder 'n02123045' has no photograph"):
            load("imagenet", tmp_path)

    def test_an_unknown_class_in_the_annotations_is_named(self, tmp_path):
        files.write_tiny_imagenet(tmp_path)
        (tmp_path / "val" / "val_annotations.txt").write_text("a.JPEG\tn99\t0\t0\t1\t1\n")
        with pytest.raises(DataError, match=r"val_annotations.txt: .*unknown class"):
            load("tiny_imagenet", tmp_path)
