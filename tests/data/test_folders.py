"""Folders of photographs and recordings, one folder a class."""

from __future__ import annotations

import numpy as np
import own_files as files
import pytest
from PIL import Image

from bdistil.data.standardise import standardised
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError, SpecError, TeacherError
from bdistil.files import array_files
from bdistil.files.array_files import mapped_file
from bdistil.files.recordings import LEAST_ENERGY
from bdistil.spec import DataSpec

SPLITS = ("train", "validation", "test")


def load(path, seed=0, **settings):
    return load_dataset(DataSpec(path=path, **settings), seed)


def sizes(dataset):
    return [len(getattr(dataset, name)) for name in SPLITS]


def colours_follow_labels(dataset):
    for name in SPLITS:
        split = getattr(dataset, name)
        strongest = np.asarray(split.x).mean(axis=(2, 3)).argmax(axis=1)
        np.testing.assert_array_equal(strongest, split.y)


class TestPhotographs:
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
    def test_a_folder_a_class_is_split_by_chance(self, tmp_path, suffix):
        dataset = load(files.write_photographs(tmp_path / "fruit", 10, suffix))
        assert dataset.name == "fruit"
        assert (dataset.domain, dataset.input_shape) == ("image", (3, 24, 24))
        assert dataset.class_names == ("cherry", "leaf", "sky")
        assert sizes(dataset) == [18, 6, 6]
        colours_follow_labels(dataset)
        assert dataset.train.x.dtype == np.float32
        assert dataset.train.x.max() > 200
        assert "by chance, stratified by class" in dataset.card.how

    @pytest.mark.parametrize(
        ("folders", "expected", "how"),
        [
            ({"train": 8, "val": 2, "test": 3}, [24, 6, 9], "validation and test as given"),
            ({"train": 8, "valid": 2}, [19, 6, 5], "validation as given; test from training, by"),
            ({"training": 8, "testing": 3}, [19, 5, 9], "test as given; validation from training"),
        ],
    )
    def test_folders_of_splits_are_kept_and_what_is_missing_is_cut(
        self, tmp_path, folders, expected, how
    ):
        for number, (name, count) in enumerate(folders.items()):
            files.write_photographs(tmp_path / name, count, size=(24, 24 + number))
        dataset = load(tmp_path, size=24)
        assert sizes(dataset) == expected
        assert how in dataset.card.how
        colours_follow_labels(dataset)

    def test_splits_may_lie_in_places_of_their_own(self, tmp_path):
        files.write_photographs(tmp_path / "mine", 8)
        files.write_photographs(tmp_path / "theirs", 2)
        dataset = load(tmp_path / "mine", test_path=tmp_path / "theirs")
        assert sizes(dataset) == [19, 5, 6]
        assert "6 in test" in " ".join(dataset.card.notes)  # the same pictures: said, and kept
        files.write_photographs(tmp_path / "mine" / "train", 3)
        with pytest.raises(DataError, match="beside the folder train there is cherry, leaf, sky"):
            load(tmp_path / "mine")

    def test_a_split_given_twice_is_refused(self, tmp_path):
        for name in ("train", "test"):
            files.write_photographs(tmp_path / "a" / name)
        files.write_photographs(tmp_path / "b")
        with pytest.raises(DataError, match=r"data\.test_path gives the test split, but data\.pa"):
            load(tmp_path / "a", test_path=tmp_path / "b")

    def test_other_sizes_are_resized_and_cut_at_the_centre(self, tmp_path):
        image = np.zeros((40, 80, 3), np.uint8)
        image[:, 20:60] = (0, 200, 0)  # the centre is green, the sides are black
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            for number in range(4):
                wide = Image.fromarray(image + np.uint8(number))
                wide.rotate(90 * (number % 2), expand=True).save(tmp_path / name / f"{number}.png")
        dataset = load(tmp_path)
        assert dataset.input_shape == (3, 32, 32)  # no side is below, some are not 64
        assert (dataset.train.x[:, 1, 2:-2, 2:-2] >= 199).all()
        said = " ".join(dataset.card.notes)
        assert "40 x 80 to 80 x 40 pixels, colour, resized to 32 x 32" in said
        assert load(tmp_path, size=16).input_shape == (3, 16, 16)

    def test_grey_photographs_have_one_channel_and_16_bits_become_8(self, tmp_path):
        for name, value in (("dark", 40), ("light", 200)):
            (tmp_path / name).mkdir()
            for number in range(4):
                deep = np.full((8, 8), 256 * (value + number), np.uint16)
                Image.fromarray(deep).save(tmp_path / name / f"{number}.png")
        dataset = load(tmp_path)
        assert dataset.input_shape == (1, 8, 8)
        assert set(np.unique(dataset.train.x // 10)) == {4, 20}
        assert "grey, of 16 bits the upper 8" in " ".join(dataset.card.notes)
        Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "dark" / "colour.png")
        assert load(tmp_path).input_shape == (3, 8, 8)

    def test_they_are_turned_upright_and_transparency_is_white(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            for number in range(3):
                image = Image.new("RGB", (16, 8), (number, 0, 0))
                exif = image.getexif()
                exif[274] = 6  # turned by a quarter
                image.save(tmp_path / name / f"{number}.jpg", exif=exif)
        assert load(tmp_path).input_shape == (3, 16, 8)
        Image.new("RGBA", (8, 16), (0, 0, 0, 0)).save(tmp_path / "a" / "clear.png")
        x = np.concatenate([getattr(load(tmp_path), name).x for name in SPLITS])
        assert (x.min(axis=(1, 2, 3)) == 255).sum() == 1

    def test_all_damaged_ones_are_named_at_once(self, tmp_path):
        files.write_photographs(tmp_path, suffix=".jpg", size=(64, 64))
        whole = (tmp_path / "leaf" / "03.jpg").read_bytes()
        (tmp_path / "leaf" / "03.jpg").write_bytes(whole[:-30])
        (tmp_path / "sky" / "00.jpg").write_bytes(b"")
        (tmp_path / "sky" / "01.jpg").write_bytes(b"<html>not found</html>")
        with pytest.raises(DataError) as caught:
            load(tmp_path)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path}: 2 photographs cannot be read: sky/00.jpg (no image")
        (tmp_path / "sky" / "00.jpg").write_bytes(whole)
        (tmp_path / "sky" / "01.jpg").write_bytes(whole)
        with pytest.raises(DataError, match=r"1 photograph cannot be read: leaf/03\.jpg \(.*trunc"):
            load(tmp_path)
        assert not list(tmp_path.rglob("*.part"))

    def test_no_more_than_a_handful_is_listed(self, tmp_path):
        files.write_photographs(tmp_path, 9)
        for path in tmp_path.rglob("*.png"):
            path.write_bytes(b"gone")
        with pytest.raises(DataError, match=r"at least .* photographs cannot be read") as caught:
            load(tmp_path)
        assert str(caught.value).count("(no image") == 5

    def test_what_is_wrong_with_folders_is_listed_at_once(self, tmp_path):
        files.write_photographs(tmp_path / "train")
        (tmp_path / "train" / "empty").mkdir()
        files.write_photographs(tmp_path / "test", 1)
        (tmp_path / "test" / "sky").rename(tmp_path / "test" / "night")
        files.photograph("sky", 0).save(tmp_path / "train" / "loose.png")
        with pytest.raises(DataError) as caught:
            load(tmp_path)
        for problem in (
            "train/loose.png is in no class",
            "class folder 'train/empty' has no photograph",
            "class 'night' of test is not in train",
        ):
            assert problem in str(caught.value)

    def test_other_files_and_unlabelled_tests_are_said_to_be_left_out(self, tmp_path):
        files.write_photographs(tmp_path / "train")
        (tmp_path / "train" / "leaf" / "notes.txt").write_text("green")
        (tmp_path / "train" / "leaf" / ".hidden.png").write_bytes(b"thumbnail")
        (tmp_path / "test").mkdir()
        files.photograph("sky", 9).save(tmp_path / "test" / "00.png")
        dataset = load(tmp_path)
        assert sum(sizes(dataset)) == 18
        said = " ".join(dataset.card.notes)
        assert "test is left out: its photographs are in no class" in said
        assert "1 other file is left out (.txt)" in said

    def test_they_are_decoded_once_and_a_changed_one_anew(self, tmp_path, monkeypatch):
        monkeypatch.setenv(array_files.VARIABLE, str(tmp_path / "cache"))
        folder = files.write_photographs(tmp_path / "fruit")
        first = load(folder)
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
        np.testing.assert_array_equal(load(folder).train.x, first.train.x)
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == written
        files.photograph("leaf", 50).save(folder / "leaf" / "00.png")
        x = np.concatenate([getattr(load(folder), name).x for name in SPLITS])
        assert (x == 110).any()
        assert not list(folder.rglob("*.npy"))

    def test_the_same_in_pieces_where_they_are_many(self, tmp_path, monkeypatch):
        folder = files.write_photographs(tmp_path, 10)
        whole = load(folder)
        monkeypatch.setattr(array_files, "LARGE_BYTES", 1)
        pieces = load(folder)
        for name in SPLITS:
            one, other = getattr(whole, name), getattr(pieces, name)
            assert mapped_file(other.x)
            assert other.x.dtype == np.uint8
            np.testing.assert_array_equal(one.x, other.x)
            np.testing.assert_array_equal(standardised(whole, one), standardised(pieces, other))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"ignore": ["a"]}, r"data\.ignore is for columns, but .* is a folder with a folder"),
            ({"group": "speaker"}, r"data\.group=folder groups files by the folders in their"),
            ({"layout": "image"}, r"data\.layout is for arrays"),
            ({"seconds": 1.0}, r"data\.seconds is for recordings, but .* holds photographs"),
            ({"label": "kind"}, "the classes of .* are its folders"),
        ],
    )
    def test_settings_of_other_sources_are_refused(self, tmp_path, settings, message):
        with pytest.raises(SpecError, match=message):
            load(files.write_photographs(tmp_path), **settings)

    def test_they_hold_no_teacher(self, tmp_path):
        spec = DataSpec(path=files.write_photographs(tmp_path))
        with pytest.raises(TeacherError, match=r"teacher\.columns are for tables"):
            load_dataset(spec, 0, ["a", "b"])


class TestFoldersInClasses:
    """Such as one a speaker or camera, or the classes themselves with everything turned round."""

    def write(self, folder, groups=("anna", "ben", "cara", "dov", "eve")):
        for group in groups:
            files.write_photographs(folder / group, 3)
            for name in files.COLOURS:
                (folder / name).mkdir(exist_ok=True)
                (folder / group / name).rename(folder / name / group)
            (folder / group).rmdir()
        return folder

    def test_they_are_told(self, tmp_path):
        said = " ".join(load(self.write(tmp_path)).card.notes)
        assert "the classes hold folders of the same names (anna, ben, cara, dov, eve): if" in said
        assert "if they are the classes, put them outermost" in said

    def test_of_one_class_alone_they_are_no_classes(self, tmp_path):
        folder = files.write_photographs(tmp_path, 10)
        for year in ("2019", "2020"):
            (folder / "sky" / year).mkdir()
            (folder / "sky" / f"0{year[-1]}.png").rename(folder / "sky" / year / "a.png")
        said = " ".join(load(folder).card.notes)
        assert "data.group=folder keeps each in one split" in said
        assert "outermost" not in said
        with pytest.raises(DataError, match=r"but 28 of 30 photographs are in none, such as"):
            load(folder, group="folder")

    def test_each_is_kept_in_one_split(self, tmp_path):
        dataset = load(self.write(tmp_path), group="folder")
        groups = [set(getattr(dataset, name).groups.tolist()) for name in SPLITS]
        assert all(groups)
        assert sum(map(len, groups)) == len(set().union(*groups)) == 5
        assert "by data.group: " in dataset.card.how
        assert "outermost" not in " ".join(dataset.card.notes)

    def test_given_splits_say_which_are_torn(self, tmp_path):
        for part, names in {"train": ("anna", "ben"), "test": ("ben", "cara")}.items():
            (tmp_path / part).mkdir()
            self.write(tmp_path / part, names)
        dataset = load(tmp_path, group="folder")
        assert "groups in more than one split, as given: ben" in " ".join(dataset.card.notes)

    def test_classes_that_hold_none_or_one_alike_are_not_asked_about(self, tmp_path):
        plain = files.write_photographs(tmp_path / "plain")
        packed = self.write(tmp_path / "packed", ["images"])
        for folder in (plain, packed):
            assert "folders" not in " ".join(load(folder).card.notes)


class TestRecordings:
    @pytest.fixture(autouse=True)
    def _needs_torchaudio(self):
        pytest.importorskip("torchaudio")

    @pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
    @pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2)])
    def test_tones_are_strongest_in_the_band_of_their_class(self, tmp_path, suffix, rate, channels):
        dataset = load(
            files.write_recordings(tmp_path, suffix=suffix, rate=rate, channels=channels)
        )
        assert (dataset.domain, dataset.class_names) == ("sequence", ("high", "low"))
        highest = 2595 * np.log10(1 + rate / 2 / 700)
        for name in SPLITS:
            split = getattr(dataset, name)
            for x, y in zip(split.x, split.y, strict=True):
                hertz = files.PITCHES[dataset.class_names[y]]
                band = 2595 * np.log10(1 + hertz / 700) / highest * 33 - 1
                assert abs(x[-5].argmax() - band) < 2

    def test_shorter_ones_have_silence_in_front_and_longer_ones_are_cut(self, tmp_path):
        folder = files.write_recordings(tmp_path, 10)  # .2 to .29 s
        dataset = load(folder, seconds=0.25)
        assert dataset.input_shape == (1 + (2000 - 200) // 80, 32)
        assert dataset.padding == np.float32(np.log(LEAST_ENERGY))
        x = np.concatenate([getattr(dataset, name).x for name in SPLITS])
        silent = (x == dataset.padding).all(axis=2)
        lengths = np.sort((~silent).sum(axis=1))
        expected = [1 + (min(1600 + 80 * number, 2000) - 200) // 80 for number in range(10)]
        np.testing.assert_array_equal(lengths, np.sort([*expected, *expected]))
        assert (np.diff(silent.astype(int), axis=1) <= 0).all()  # only in front
        assert "8 cut at the end" in " ".join(dataset.card.notes)

    def test_by_default_nearly_all_are_whole(self, tmp_path):
        dataset = load(files.write_recordings(tmp_path, 20))  # .2 to .39 s
        said = " ".join(dataset.card.notes)
        assert "shorter than 0.38 s" in said
        assert "2 cut at the end" in said

    def test_rates_are_brought_to_the_commonest_one(self, tmp_path):
        files.write_recordings(tmp_path, 9, rate=8_000)
        files.write_recordings(tmp_path, 3, rate=22_050)
        dataset = load(tmp_path)
        assert "at 8,000, 22,050 Hz, as 32 log-Mel bands of 8,000 Hz" in " ".join(
            dataset.card.notes
        )
        strongest = {
            name: np.concatenate([s.x[s.y == code, -5].argmax(axis=1) for s in splits_of(dataset)])
            for code, name in enumerate(dataset.class_names)
        }
        assert np.ptp(strongest["low"]) <= 2
        assert np.ptp(strongest["high"]) <= 2

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_file_that_ends_before_its_sound_is_refused(self, tmp_path, wrapped):
        folder = files.write_recordings(tmp_path / "tones")
        path = folder / "low" / "03.wav"
        content = path.read_bytes()
        if wrapped:  # a chunk of odd length in front of the sound
            content = content[:36] + b"LIST\x03\x00\x00\x00abc\x00" + content[36:]
            path.write_bytes(content)
            load(folder)
        path.write_bytes(content[:1000])
        end = 1000 - content.index(b"data") - 8
        sound = len(content) - content.index(b"data") - 8
        with pytest.raises(
            DataError, match=rf"03.wav \(it ends after {end:,} of its {sound:,} bytes of sound\)"
        ):
            load(folder)

    def test_a_length_that_was_not_known_is_none(self, tmp_path):
        folder = files.write_recordings(tmp_path)
        path = folder / "low" / "03.wav"
        content = bytearray(path.read_bytes())
        place = content.index(b"data") + 4
        content[place : place + 4] = b"\xff\xff\xff\xff"  # as what writes into a pipe says
        path.write_bytes(content)
        assert sum(sizes(load(folder))) == 16

    def test_a_recording_shorter_than_a_window_is_one_frame(self, tmp_path):
        folder = files.write_recordings(tmp_path)
        pytest.importorskip("soundfile").write(folder / "low" / "click.wav", [0.5] * 50, 8_000)
        dataset = load(folder)
        x = np.concatenate([split.x for split in splits_of(dataset)])
        assert 1 in (x != dataset.padding).any(axis=2).sum(axis=1)

    def test_loudness_makes_no_difference_and_silence_is_none(self, tmp_path):
        soundfile = pytest.importorskip("soundfile")
        for name, gain in (("loud", 1.0), ("quiet", 0.02)):
            (tmp_path / name).mkdir()
            for number in range(3):
                wave = gain * files.tone(500 + 100 * number, 0.3, 8_000)
                soundfile.write(tmp_path / name / f"{number}.wav", wave, 8_000, "FLOAT")
        soundfile.write(tmp_path / "quiet" / "none.wav", np.zeros(2_400), 8_000)
        dataset = load(tmp_path)
        found = {0: [], 1: []}
        for split in splits_of(dataset):
            for x, y in zip(split.x, split.y, strict=True):
                found[y].append(x)
        loud, quiet = (sorted(rows, key=lambda x: x.sum()) for rows in found.values())
        np.testing.assert_allclose(loud, quiet[1:], atol=1e-3)
        assert (quiet[0] == dataset.padding).all()

    def test_damaged_and_empty_ones_are_named(self, tmp_path):
        folder = files.write_recordings(tmp_path)
        (folder / "low" / "03.wav").write_bytes(b"RIFF but no more")
        pytest.importorskip("soundfile").write(folder / "high" / "00.wav", [], 8_000)
        with pytest.raises(DataError) as caught:
            load(folder)
        assert (
            "2 recordings cannot be read: high/00.wav (it has no sound), low/03.wav (no s"
            in str(caught.value)
        )


def splits_of(dataset):
    return [getattr(dataset, name) for name in SPLITS]
