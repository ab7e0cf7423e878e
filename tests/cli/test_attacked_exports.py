"""Exports and runs under attack: odd places, failures in the middle, files that were moved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_ensembles import small_ensemble
from tiny import tiny

import bdistil as package
from bdistil import Predictor
from bdistil.errors import CheckpointError
from bdistil.export.c_export import export_c
from bdistil.export.ensemble import Ensemble
from bdistil.export.worth_of_int8 import Worth
from bdistil.searching.result import SearchResult
from bdistil.store.durable import replacing_files

Command = Callable[..., Any]


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("in_the_way", ["onnx", "model.safetensors"])
def test_an_export_with_something_in_its_way_leaves_the_earlier_formats(
    tmp_path: Path, in_the_way: str
) -> None:
    earlier = small_ensemble(("mlp", 3, "none", False))
    with earlier.saving(tmp_path / "out") as aside:
        export_c(earlier, aside / "c", np.zeros((2, 5), np.float32))
    place = tmp_path / "out" / in_the_way
    if place.is_file():  # and as such it would be written over
        place.unlink()
        place.mkdir()
    else:
        place.write_text("a note of mine")
    before = contents(tmp_path / "out")

    def export_another() -> None:
        with small_ensemble(("mlp", 2, "none", False)).saving(tmp_path / "out") as aside:
            (aside / "onnx").mkdir()
            (aside / "onnx" / "model.onnx").write_bytes(b"graph")

    with pytest.raises(CheckpointError, match="cannot be written"):
        export_another()
    assert contents(tmp_path / "out") == before


def test_files_that_do_not_belong_go_when_only_the_moving_is_left(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with replacing_files(tmp_path, "new", clear=(tmp_path / "old").unlink) as aside:
        (aside / "new").write_text("new")
        assert (tmp_path / "old").exists()
    assert contents(tmp_path) == {"new": b"new"}


@pytest.mark.parametrize("inside", ["", "teacher", "students", "ensemble/deeper", "../run/open"])
def test_an_export_into_the_run_itself_is_refused(bdistil: Command, run: Path, inside: str) -> None:
    """`teacher` has a config.json that the advice was to delete."""
    before = contents(run)
    answer = bdistil("export", run, "--out", run / inside)
    assert answer.status == 2
    assert "is the search's own" in answer.errors or "holds other files" in answer.errors
    assert "delete" not in answer.errors
    assert contents(run) == before


@pytest.mark.parametrize("command", ["export", "report", "bench", "predict"])
def test_an_output_at_a_uri_makes_no_folder_of_its_scheme(
    bdistil: Command, run: Path, tmp_path: Path, command: str
) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 16), np.float32))
    data = [tmp_path / "data.npz"] if command == "predict" else []
    answer = bdistil(command, run, *data, "--out", "s3://bucket/out")
    assert answer.status == 2
    assert "s3://bucket/out is a URI, where only runs can be kept" in " ".join(
        answer.errors.split()
    )
    assert not Path("s3:").exists()


@pytest.mark.parametrize("name", ["n" * 255, "ü 猫 <b>", "-leading", " "])
def test_an_export_under_an_odd_name_loads(
    bdistil: Command, run: Path, tmp_path: Path, name: str
) -> None:
    assert bdistil("export", run, "--out", tmp_path / name).status == 0
    assert len(Ensemble.from_pretrained(tmp_path / name)) == 3


def test_figures_that_cannot_be_kept_are_shown_all_the_same(
    bdistil: Command, run: Path, tmp_path: Path
) -> None:
    """As of an unfinished run on a disk that is read-only."""
    (run / "evaluation.json").unlink()
    (run / "evaluation.json").mkdir()
    for arguments in (["status"], ["report", "--out", tmp_path / "report.html"], ["export"]):
        answer = bdistil(arguments[0], run, *arguments[1:])
        assert answer.status == 0, answer.errors
        assert "Note: the figures are not kept" in answer.errors
    assert bdistil("resume", run).status == 2  # but a search keeps what it finds


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a file of the user's, in the same folder."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    y = np.arange(200) % 2
    np.savez(folder / "data.npz", x=(random.normal(size=(200, 4)) + y[:, None]).astype("f4"), y=y)
    spec = tiny("data={path: " + f"{folder / 'data.npz'}" + "}", "search.rounds=1")
    spec = spec.model_copy(update={"workers": spec.workers.model_copy(update={"count": 0})})
    return package.search(spec, folder / "run").directory.parent


def test_data_that_were_moved_are_asked_for_and_then_found(
    bdistil: Command, own_run: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(own_run, tmp_path / "a b ü"))
    (own_run / "data.npz").rename(own_run / "elsewhere.npz")
    run = folder / "run"
    for command in ("resume", "report", "export", "pareto", "bench"):
        answer = bdistil(command, run)
        assert answer.status == 2
        assert f"bdistil resume '{run}' data.path=FILE" in answer.errors.replace("\n", " ")
    assert bdistil("resume", run, f"data.path={folder / 'data.npz'}").status == 0
    assert bdistil("report", run).status == 0


def test_fewer_stages_have_exits_of_their_own(bdistil: Command, run: Path, tmp_path: Path) -> None:
    """And know when their teacher is worth asking; the whole ensemble's would not hold."""
    out = tmp_path / "two"
    answer = bdistil("export", run, "--out", out, "--stages", 2)
    assert answer.status == 0, answer.errors
    whole, two = Predictor(run), Predictor(out)
    assert {len(point.leaving) for point in two.manifest.exits} == {2}
    assert {len(point.leaving) for point in whole.manifest.exits} == {3}
    full = [point.metric for point in two.manifest.exits if point.threshold is None]
    assert set(full) == {SearchResult.of(run).rounds[1].result.metric}
    assert two.manifest.calibration is not None
    assert two.manifest.calibration.asks
    temperatures = whole.manifest.temperatures[:2]
    np.testing.assert_allclose(two.manifest.temperatures, temperatures, rtol=1e-6)


def test_8_bits_that_are_not_kept_leave_none_of_an_earlier_export(
    bdistil: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    assert bdistil("export", run, "--out", out, "--int8-anyway").status == 0
    assert (out / "onnx-int8").is_dir()
    slow = Worth((0.8, 0.9), (0.8, 0.9), (1.0, 1.5))
    monkeypatch.setattr("bdistil.export.worth_of_int8.worth_of_int8", lambda *_: slow)
    answer = bdistil("export", run, "--out", out, "--int8")
    assert "not kept: they are no faster here" in answer.printed
    assert not (out / "onnx-int8").exists()
    assert Predictor(out, backend="onnx").predict(np.zeros((2, 16), np.float32)).shape == (2,)
