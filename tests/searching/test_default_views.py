"""Views that nobody asked for: where they suit the data and cost less than the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import own_files
import pytest
from reporters import Heard

from bdistil.cluster.launch import launch_search
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.resolve import resolve
from bdistil.searching.views import told_views
from bdistil.spec import Spec, load_spec
from bdistil.spec.views import ViewSpec


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    x = random.integers(0, 255, (120, 3, 16, 16)).astype(np.float32)
    path = tmp_path / "images.npz"
    np.savez(path, x=x, grey=x[:, :1], tiny=x[:, :1, ::2, ::2], y=np.arange(120) % 3)
    return path


def spec_of(path: Path, **changes: Any) -> Spec:
    source = {
        "data": {"path": str(path)},
        "teacher": {"model": "mlp", "epochs": 2, "options": {"widths": [8]}},
        "space": {"student": "cnn", "ladder": [2, 4], "epochs": 3},
        "search": {"rounds": 2, "tries_per_class": 2},
        "workers": {"count": 0},
    }
    for section, values in changes.items():
        source[section] = source[section] | values
    return load_spec(source)


def resolved(spec: Spec) -> tuple[Spec, str | None]:
    dataset = load_dataset(spec.data, spec.seed, spec.teacher.columns)
    decided = resolve(spec, dataset)
    return decided, told_views(spec, decided, dataset)


def test_colour_photographs_have_copies_that_compete(images: Path) -> None:
    spec, told = resolved(spec_of(images))
    assert spec.data.views == ViewSpec(copies=3, crop=2, flip=True)
    assert spec.space.values("views") == (True, False)
    assert told is not None
    assert "views: 3 copies of each training example (crop 2, flip)" in told


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"views": False}},
        {"teacher": {"crossfit": 2}},
        {"space": {"correction": "orthogonal"}},
        {"teacher": {"epochs": 1, "options": {"widths": [10_000_000]}}},  # asking takes longer
    ],
)
def test_there_are_none_where_they_are_unwanted_or_cannot_be(
    images: Path, changes: dict[str, Any]
) -> None:
    spec, told = resolved(spec_of(images, **changes))
    assert spec.data.views is False
    assert spec.space.values("views") == ()
    assert (told is None) == (changes == {"data": {"views": False}})
    assert told is None or told.startswith("views: none")


def test_asked_for_they_are_what_students_are_trained_on(images: Path) -> None:
    for asked in (True, {"copies": 2, "noise": 0.1}):
        spec, told = resolved(spec_of(images, data={"views": asked}))
        assert isinstance(spec.data.views, ViewSpec)
        assert spec.space.values("views") == ()
        assert told is None


def test_grey_images_are_moved_but_not_mirrored(images: Path, tmp_path: Path) -> None:
    with np.load(images) as arrays:
        np.savez(tmp_path / "grey.npz", x=arrays["grey"], y=arrays["y"])
    spec, told = resolved(spec_of(tmp_path / "grey.npz"))
    assert spec.data.views == ViewSpec(copies=3, crop=2, flip=False)
    assert spec.space.values("views") == (True, False)
    assert told is not None
    assert "views: 3 copies of each training example (crop 2)" in told


def test_tiny_images_and_tables_have_none(images: Path, tmp_path: Path) -> None:
    with np.load(images) as arrays:
        np.savez(tmp_path / "tiny.npz", x=arrays["tiny"], y=arrays["y"])
    spec, told = resolved(spec_of(tmp_path / "tiny.npz"))
    assert spec.data.views is False
    assert told is None
    with pytest.raises(SpecError, match=r"no change is known to help; name some .*crop"):
        resolved(spec_of(tmp_path / "tiny.npz", data={"views": True}))


def test_a_search_says_so_and_goes_on_as_it_began(images: Path, tmp_path: Path) -> None:
    heard = Heard()
    spec = spec_of(images, search={"fallback": "best"})
    run = launch_search(spec, tmp_path / "run", reporter=heard).run
    assert any(text.startswith("views: 3 copies") for text in heard.messages)
    drawn = {t.request.params["views"] for r in run.journal.read() for t in r.trials}
    assert drawn == {True, False}
    expected = [record.sha256 for record in run.journal.read()]
    lines = run.journal.path.read_text().splitlines(keepends=True)
    run.journal.path.write_text(lines[0])
    launch_search(spec, run.path)
    assert [record.sha256 for record in RunDirectory(run.path).journal.read()] == expected


def test_series_have_copies_where_they_are_asked_for(tmp_path: Path) -> None:
    random, y = np.random.default_rng(0), np.arange(60) % 3
    for features, changes in ((6, {"feature_mask": 0.25}), (1, {})):
        x = random.normal(size=(60, 40, features)).astype(np.float32)
        np.savez(tmp_path / "series.npz", x=x, y=y)
        space = {"space": {"student": "fcn"}}
        spec, told = resolved(spec_of(tmp_path / "series.npz", **space))
        assert (spec.data.views, told) == (False, None)
        spec, _ = resolved(spec_of(tmp_path / "series.npz", data={"views": True}, **space))
        assert isinstance(spec.data.views, ViewSpec)
        made = {name: getattr(spec.data.views, name) for name in spec.data.views.changes}
        assert made == {"shift": 5, "time_mask": 0.2, "noise": 0.1} | changes


def test_recordings_have_convolutions_and_copies(tmp_path: Path) -> None:
    folder = own_files.write_recordings(tmp_path / "mine", 12)
    source = {
        "data": {"path": str(folder)},
        "space": {"epochs": 2},
        "teacher": {"epochs": 2},
        "search": {"rounds": 1, "fallback": "best", "tries_per_class": 2},
        "workers": {"count": 0},
    }
    spec, told = resolved(load_spec(source))
    assert spec.space.student == "spectrogram"
    run = launch_search(load_spec(source), tmp_path / "run").run
    assert run.spec().space.student == "spectrogram"
    card = json.loads((run.path / "teacher" / "config.json").read_text())
    assert card["model"] == "spectrogram"
    assert len(launch_search(load_spec(source), run.path).rounds) == 1  # the same search
    assert told is not None
    assert "time_mask 0.2, feature_mask 0.25, noise 0.1, mixup 0.4)" in told
    assert told.endswith("are what students learn from (data.views)")
    assert spec.space.values("views") == ()
    needs_labels = {"space": source["space"] | {"correction": "orthogonal"}}
    corrected, _ = resolved(
        load_spec(source | needs_labels | {"data": source["data"] | {"views": True}})
    )
    assert isinstance(corrected.data.views, ViewSpec)
    assert corrected.data.views.changes == (*spec.data.views.changes[:-1],)


def test_a_run_keeps_what_auto_was_when_it_began(tmp_path: Path) -> None:
    spec = load_spec({"data": {"name": "digits"}, "space": {"student": "auto"}})
    stored = load_spec(
        {"data": {"name": "digits"}, "space": {"student": "mlp"}, "teacher": {"model": "cnn"}}
    )
    decided = spec.as_decided_in(stored)
    assert (decided.space.student, decided.teacher.model) == ("mlp", "cnn")
    own = load_spec({"data": {"name": "digits"}, "space": {"student": "cnn"}})
    assert own.as_decided_in(stored).space.student == "cnn"
