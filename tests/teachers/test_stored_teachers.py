"""What a run keeps of the user's own teacher, and what it then still needs."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from own_teachers import (
    OWN,
    loaded,
    network,
    spec_of,
    users_folder,
)

from bdistil.cluster.launch import launch_search
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import StudentConfig
from bdistil.errors import (
    BdistilWarning,
    CheckpointError,
)
from bdistil.export.checkpoint import build_student
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import evaluate_on_test
from bdistil.searching.resolve import resolve

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return users_folder(tmp_path, monkeypatch)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A search up to the teacher, without Ray."""
    monkeypatch.setattr("bdistil.searching.run.opened_if", lambda *_: nullcontext())
    monkeypatch.setattr("bdistil.searching.run.play", lambda *_: None)
    return lambda *arguments: launch_search(*arguments).run


def test_a_search_goes_on_without_the_files_and_refuses_changed_ones(
    place: Path, search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("code.py:network", **OWN)
    search(spec, place / "run")
    stored = (place / "run" / "teacher" / "logits.safetensors").read_bytes()
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")  # the run knows where the files lie
    resumed = RunDirectory(place / "run").spec()
    search(resumed, place / "run")
    weights = place / "weights.safetensors"
    safetensors.torch.save_file({k: -v for k, v in network().state_dict().items()}, weights)
    with pytest.raises(CheckpointError, match=r"weights.safetensors has changed since its answers"):
        search(resumed, place / "run")
    weights.unlink()
    (place / "code.py").unlink()
    search(resumed, place / "run")
    assert (place / "run" / "teacher" / "logits.safetensors").read_bytes() == stored


def test_a_moved_weights_file_is_the_same_search(place: Path, search: Any) -> None:
    search(spec_of("code.py:network", **OWN), place / "run")
    shutil.move("weights.safetensors", "moved.safetensors")
    moved = spec_of("code.py:network", weights="moved.safetensors")
    search(moved, place / "run")
    other = spec_of("code.py:pair", weights="moved.safetensors")
    for spec, same in ((moved, True), (other, False)):
        resolved = resolve(spec, loaded(spec))
        assert RunDirectory(place / "run").has_teacher_of(resolved) == same


def test_the_figures_show_what_is_known_of_the_teacher(place: Path, search: Any) -> None:
    run = search(spec_of("code.py:network", **OWN), place / "run")
    dataset = loaded(run.spec())
    ensemble = ProgressiveEnsemble(3)
    ensemble.append(build_student(StudentConfig("mlp", 2, "dense", True), (4,), 3, []))
    figures = evaluate_on_test(run, dataset, ensemble)
    assert figures.teacher.flops == 70
    assert figures.stages[0].latency_ratio is not None
    (place / "code.py").unlink()
    with pytest.warns(BdistilWarning, match=r"the teacher's time is left out: .*code.py does not"):
        figures = evaluate_on_test(run, dataset, ensemble)
    assert figures.teacher.flops == 70
    assert figures.stages[0].latency_ratio is None
