"""A search whose students are a library's networks, and what is made of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import students, winners

import bdistil as package
from bdistil.cluster.launch import launch_search
from bdistil.errors import CheckpointError, MissingDependencyError, SpecError
from bdistil.export.checkpoint import check_known
from bdistil.runs.run_directory import RunDirectory
from bdistil.spec import Spec, load_spec

pytest.importorskip("torchvision")

MOBILENET = "torchvision:mobilenet_v3_small"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of 12x12 pixels, bright in one of three rows of a third each."""
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    x = rng.normal(0, 0.3, (150, 1, 12, 12)).astype(np.float32)
    for image, label in zip(x, y, strict=True):
        image[:, 4 * label : 4 * label + 4] += 1
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, x=x, y=y)
    return path


def spec_of(images: Path, **space: Any) -> Spec:
    settings: dict[str, Any] = {
        "name": "backbones",
        "data": {"path": str(images), "views": False},
        "teacher": {"model": "cnn", "options": {"channels": [4]}, "epochs": 2},
        "space": {
            "student": [MOBILENET, "cnn"],
            "ladder": [2],
            "options": {MOBILENET: {"stem_stride": [1, 2]}},
            "epochs": 2,
            "growth": 1.5,
        }
        | space,
        "search": {"rounds": 2, "tries_per_class": 2, "fallback": "best"},
        "workers": {"count": 0},
    }
    return load_spec(settings, [])


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    only = {"student": MOBILENET, "options": {MOBILENET: {"stem_stride": 1}}}
    folder = tmp_path_factory.mktemp("searched") / "run"
    return launch_search(spec_of(images, **only), folder).run.path


def test_students_are_kept_by_the_librarys_name(run: Path) -> None:
    ensemble = package.Ensemble.from_pretrained(run)
    config = json.loads((run / "ensemble" / "config.json").read_text())
    kinds = [student["kind"] for student in config["students"]]
    assert kinds == [f"{MOBILENET}(stem_stride=1)"] * 2
    assert len(ensemble) == 2


def test_a_resumed_search_finds_the_same(run: Path, images: Path, tmp_path: Path) -> None:
    only = {"student": MOBILENET, "options": {MOBILENET: {"stem_stride": 1}}}
    spec = spec_of(images, **only)
    again = RunDirectory(launch_search(spec, tmp_path / "run").run.path)
    lines = again.journal.path.read_text().splitlines(keepends=True)
    again.journal.path.write_text(lines[0])
    launch_search(spec, again.path)
    assert winners(again.path) == winners(run)
    assert students(again.path) == students(run)


def test_a_saved_ensemble_answers_stage_by_stage_as_it_does_stacked(
    run: Path, images: Path
) -> None:
    ensemble = package.Ensemble.from_pretrained(run)
    x = torch.as_tensor(np.load(images)["x"][:9])
    with torch.no_grad():
        stages = list(ensemble.stages(x))
        stacked = ensemble.stack(range(1, 3))(x)
    for stage, logits in enumerate(stages):
        torch.testing.assert_close(stacked[:, stage], logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ensemble(x, stages=stage + 1), logits, rtol=1e-4, atol=1e-4)
    assert (ensemble.predict(x) == stages[1].argmax(dim=1).numpy()).all()


def test_they_compete_with_students_of_the_zoo(images: Path, tmp_path: Path) -> None:
    result = launch_search(spec_of(images), tmp_path / "run")
    assert all("mobilenet" in r.student.kind or "cnn" in r.student.kind for r in result.rounds)


def test_a_ladder_may_name_them(images: Path) -> None:
    ladder = [{"cnn": 4}, {MOBILENET: 4}]
    spec = spec_of(images, ladder=ladder, student="auto", options={})
    assert spec.space.students == ("cnn", MOBILENET)


def test_overrides_and_yaml_take_the_colon(images: Path, tmp_path: Path) -> None:
    settings = spec_of(images).model_dump(mode="json")
    plain = load_spec(settings, [f"space.student={MOBILENET}", "space.options={}"])
    assert plain.space.student == MOBILENET
    text = f"[{{{MOBILENET}: 8}}]"
    rungs = load_spec(
        settings, [f"space.ladder={text}", "space.student=auto", "space.options={}"]
    ).space.rungs
    assert rungs == [(MOBILENET, 8)]


def test_an_unknown_network_ends_the_search_before_it_begins(images: Path, tmp_path: Path) -> None:
    spec = spec_of(images, student="torchvision:mobilenet_v9", options={})
    with pytest.raises(SpecError, match=r"space.student: torchvision has no model 'mobilenet_v9'"):
        launch_search(spec, tmp_path / "run")


def test_a_saved_ensemble_without_its_library_names_the_extra(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    message = r"has a student 'torchvision:mobilenet_v3_small', but torchvision is not .*\[vision\]"
    with pytest.raises(MissingDependencyError, match=message):
        package.Ensemble.from_pretrained(run)


def test_an_ensemble_of_another_version_of_the_library_is_told(run: Path) -> None:
    (config, _) = [student.config for student in package.Ensemble.from_pretrained(run).students]
    later = dataclasses.replace(config, kind="torchvision:mobilenet_v9(stem_stride=1)")
    with pytest.raises(CheckpointError, match="'torchvision:mobilenet_v9', which the torchvision"):
        check_known([later], "config.json")
