"""Sequences: speech, sensors and the archive's text files."""

from __future__ import annotations

import numpy as np
import published_files as files
import pytest

from bdistil.datasets.catalogue import list_datasets, load_dataset
from bdistil.datasets.daily_sports import dsa19
from bdistil.datasets.speech_commands import FRAMES, LEAST_ENERGY, RATE, read_wave
from bdistil.datasets.time_series import padded
from bdistil.errors import DataError
from bdistil.files.log_mel import log_mel
from bdistil.spec import DataSpec

SPLITS = ("train", "validation", "test")
PRESENT = {entry.name for entry in list_datasets() if entry.present}


def load(name, root, seed=0, **options):
    return load_dataset(DataSpec(name=name, options={"root": str(root), **options}), seed)


def bands_of(samples):
    return log_mel(samples, RATE, FRAMES, LEAST_ENERGY)


class TestSpeech:
    @pytest.fixture(autouse=True)
    def _needs_torchaudio(self):
        pytest.importorskip("torchaudio")

    def test_lists_decide_on_splits_and_words_on_labels(self, tmp_path):
        files.write_speech_commands(tmp_path)
        dataset = load("google13", tmp_path)
        assert [len(getattr(dataset, name)) for name in SPLITS] == [9, 3, 3]
        assert dataset.class_names[0] == "other"
        assert dataset.outputs == 13
        labels = {dataset.class_names[y] for y in dataset.test.y}
        assert labels == {"other", "go", "yes"}
        again = load("google13", tmp_path, seed=5)
        np.testing.assert_array_equal(again.train.x, dataset.train.x)

    def test_a_tone_is_strongest_in_a_band_that_rises_with_it(self):
        waves = np.stack([files.tone(hertz) for hertz in (300, 1000, 3000, 6000)])
        bands = bands_of(waves.astype(np.int16))
        assert bands.shape == (4, 99, 32)
        assert bands.dtype == np.float32
        strongest = bands.argmax(axis=2)
        assert (strongest[:, 1:-1] == strongest[:, 50:51]).all()  # at every time the same
        # HTK's scale puts f at 2595 log10(1 + f / 700) of 2840 mel at 8 kHz, in 33 steps.
        mel = 2595 * np.log10(1 + np.array([300, 1000, 3000, 6000]) / 700)
        np.testing.assert_allclose(strongest[:, 50], mel / 2840 * 33 - 1, atol=1)

    def test_time_runs_in_frames_of_10_ms(self):
        samples = np.zeros((1, 16_000), np.int16)
        samples[0, 8_000:] = files.tone(1000, 8_000)
        loud = bands_of(samples)[0].max(axis=1) > 0
        assert 47 <= loud.argmax() <= 50
        assert loud[50:].all()

    def test_short_recordings_get_silence_in_front(self, tmp_path):
        files.write_wav(tmp_path / "a.wav", files.tone(1000, 4_000))
        samples = read_wave(tmp_path / "a.wav")
        assert not samples[:12_000].any()
        assert samples[12_001:].any()
        silent = bands_of(samples[None])[0, :70]
        np.testing.assert_allclose(silent, np.log(1e-10), rtol=1e-5)

    @pytest.mark.parametrize(
        ("samples", "settings", "message"),
        [
            (16_000, {"rate": 8_000}, "8000 Hz"),
            (16_000, {"channels": 2}, "2 channels"),
            (16_001, {}, "32002 bytes"),
            (0, {}, "0 bytes"),
        ],
    )
    def test_other_recordings_are_refused(self, tmp_path, samples, settings, message):
        files.write_wav(tmp_path / "a.wav", np.zeros(samples), **settings)
        with pytest.raises(DataError, match=rf"a.wav has .*{message}"):
            read_wave(tmp_path / "a.wav")

    @pytest.mark.parametrize("content", [None, b"", b"RIFF", b"no sound at all"])
    def test_unreadable_recordings_are_named(self, tmp_path, content):
        if content is not None:
            (tmp_path / "a.wav").write_bytes(content)
        with pytest.raises(DataError, match=r"a.wav is no readable WAV file"):
            read_wave(tmp_path / "a.wav")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Activities; channel 0 holds the activity, channel 1 the person."""
    folder = tmp_path_factory.mktemp("dsa")
    files.write_dsa(folder)
    return folder


class TestActivities:
    def test_nobody_stands_in_two_splits(self, folder):
        people = {}
        for seed in range(4):
            dataset = load("dsa19", folder, seed)
            people[seed] = [set(getattr(dataset, name).x[:, 0, 1]) for name in SPLITS]
            train, validation, test = people[seed]
            assert test == {7, 8}
            assert len(validation) == 1
            assert len(train) == 5
            assert train | validation == {1, 2, 3, 4, 5, 6}
        assert len({min(validation) for _, validation, _ in people.values()}) > 1

    def test_labels_follow_the_folders(self, folder):
        dataset = load("dsa19", folder, test_people=[1])
        for name in SPLITS:
            split = getattr(dataset, name)
            np.testing.assert_array_equal(split.x[:, 0, 0], split.y + 1)
            assert split.x.shape[1:] == (125, 45)
        assert len(dataset.test) == 19 * 2
        assert dataset.class_names[18] == "playing basketball"

    def test_too_many_test_people_are_refused(self, folder):
        with pytest.raises(DataError, match="test_people"):
            dsa19(0, 0.2, 0.2, root=folder, test_people=(1, 2, 3, 4, 5, 6, 7))

    @pytest.mark.parametrize("text", ["1,2\n", "a,b\n", "", "1," * 44 + "nan\n"])
    def test_damaged_segments_are_named(self, tmp_path, text):
        files.write_dsa(tmp_path, segments=1)
        (tmp_path / "a03" / "p5" / "s01.txt").write_text(text)
        with pytest.raises(DataError, match=r"a03/p5/s01.txt .*unpack"):
            load("dsa19", tmp_path)


class TestArchive:
    def test_shorter_series_get_zeros_in_front(self):
        series = [np.array([[1], [2], [3]], np.float32), np.array([[7]], np.float32)]
        assert padded(series, 4)[:, :, 0].tolist() == [[0, 1, 2, 3], [0, 0, 0, 7]]
        with pytest.raises(DataError, match="up to 3 steps"):
            padded(series, 2)
        with pytest.raises(DataError, match="missing values"):
            padded([np.array([[np.nan]], np.float32)], 2)

    @pytest.mark.skipif("japanese_vowels" not in PRESENT, reason="JapaneseVowels is not installed")
    def test_the_real_japanese_vowels(self):
        dataset = load_dataset(DataSpec(name="japanese_vowels"), 0)
        assert [len(getattr(dataset, name)) for name in SPLITS] == [216, 54, 370]
        assert np.bincount(dataset.train.y).tolist() == [24] * 9
        counts = np.bincount(dataset.test.y).tolist()
        assert counts == [31, 35, 88, 44, 29, 24, 40, 50, 29]  # as its donors list them
        lengths = (dataset.test.x != 0).any(axis=2).sum(axis=1)
        assert (lengths.min(), lengths.max()) == (7, 29)
        assert dataset.padding == 0

    @pytest.mark.skipif("basic_motions" not in PRESENT, reason="BasicMotions is not installed")
    def test_the_real_basic_motions(self):
        dataset = load_dataset(DataSpec(name="basic_motions"), 0)
        assert [len(getattr(dataset, name)) for name in SPLITS] == [32, 8, 40]
        assert dataset.class_names == ("Standing", "Running", "Walking", "Badminton")
        assert np.bincount(dataset.test.y).tolist() == [10] * 4
        assert dataset.padding is None
