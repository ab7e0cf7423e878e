"""A predictor that was used: pickled, copied, forked, shared by threads; and batches of nothing."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from deployed import deploy, examples

from bdistil import Predictor
from bdistil.errors import CheckpointError
from bdistil.export.ensemble import Ensemble
from bdistil.export.onnx_export import export_onnx
from bdistil.runtime import pace
from bdistil.runtime.hashes import HASHES_FILE
from bdistil.runtime.pace import Pace

BACKENDS = ("torch", "onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("used")
    deploy(path, *(("mlp", width, "dense", True) for width in (3, 2, 4)))
    export_onnx(Ensemble.from_pretrained(path), path / "onnx", examples("mlp", 20))
    return path


@pytest.fixture(params=BACKENDS)
def used(folder: Path, request: pytest.FixtureRequest) -> Predictor:
    predictor = Predictor(folder, backend=request.param, threads=2)
    predictor.predict(examples("mlp", 5))
    list(predictor.stages(examples("mlp", 5)))
    return predictor


def test_no_examples_get_no_answers(used: Predictor) -> None:
    none = np.zeros((0, *used.manifest.input_shape), np.float32)
    assert used.predict(none).shape == (0,)
    assert used.answer(none, deadline="1ms").values.shape == (0,)
    assert used.predict_batch(none, "50%").values.shape == (0,)
    assert [len(answer.values) for answer in used.stages(none)] == [0, 0, 0]
    assert used.predict_proba(none).shape == (0, used.manifest.outputs)


def test_a_buffer_may_be_written_to_while_stages_are_computed(used: Predictor) -> None:
    x = examples("mlp", 2000)
    expected = [answer.probabilities for answer in used.stages(x)]
    buffer = x.copy()
    stages, run = used.stages(buffer), used.start(buffer)
    buffer[:] = buffer[::-1].copy()
    found = used.finished(run.wait())
    np.testing.assert_array_equal(found.probabilities, expected[-1])
    for answer, before in zip(stages, expected, strict=True):
        np.testing.assert_array_equal(answer.probabilities, before)


def test_another_export_in_the_place_is_told(folder: Path, tmp_path: Path) -> None:
    x = examples("mlp", 5)
    place, other = tmp_path / "place", tmp_path / "other"
    shutil.copytree(folder, place)
    warm, cold = Predictor(place, backend="onnx"), Predictor(place, backend="onnx")
    expected = warm.predict(x).tolist()
    warm.warm_up()
    cold.predict(x, stages=1)
    deploy(other, *(("mlp", width, "dense", True) for width in (4, 2, 3)))
    export_onnx(Ensemble.from_pretrained(other), other / "onnx", examples("mlp", 20))
    shutil.rmtree(place)
    for replace in (lambda: None, lambda: other.rename(place)):
        replace()
        assert warm.predict(x).tolist() == expected
        assert len(list(warm.stages(x))) == 3
        with pytest.raises(CheckpointError, match=r"was replaced or removed .*; open it again"):
            cold.predict(x)
    assert Predictor(place, backend="onnx").predict(x).shape == (5,)


def test_graphs_without_their_hashes_are_refused(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    shutil.copytree(folder, place)
    (place / "onnx" / HASHES_FILE).unlink()
    with pytest.raises(
        CheckpointError, match=r"hashes.json, by which prefix_3.onnx is checked, is"
    ):
        Predictor(place, backend="onnx").predict(examples("mlp", 5))


def test_copies_answer_as_the_original(used: Predictor) -> None:
    x = examples("mlp", 5)
    expected = used.predict(x).tolist()
    for other in (pickle.loads(pickle.dumps(used)), copy.deepcopy(used)):
        assert other.predict(x).tolist() == expected
        assert set(other.answer(x, deadline="60s").stages) == {3}


def test_threads_share_one(used: Predictor) -> None:
    batches = [examples("mlp", 1 + seed % 7) for seed in range(64)]
    expected = [used.predict(x).tolist() for x in batches]
    with ThreadPoolExecutor(16) as pool:
        assert [found.tolist() for found in pool.map(used.predict, batches)] == expected


def test_a_fork_of_a_used_onnx_predictor_answers(folder: Path) -> None:
    used, x = Predictor(folder, backend="onnx"), examples("mlp", 5)
    expected = used.predict(x).tolist()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_answer, (used, x)).get(60) == expected


def _answer(predictor: Predictor, x: np.ndarray) -> list[str]:
    found: list[str] = predictor.predict(x).tolist()
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fresh_predictor_is_not_pinned_to_its_first_stage_by_loading(
    folder: Path, backend: str
) -> None:
    predictor = Predictor(folder, backend=backend)
    for _ in range(3):
        assert set(predictor.answer(examples("mlp", 5), deadline="30s").stages) == {3}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_interpreter_ends_in_peace_while_stages_are_computed(
    folder: Path, backend: str
) -> None:
    code = f"""
        import numpy as np
        from bdistil import Predictor
        predictor = Predictor({str(folder)!r}, backend={backend!r})
        x = np.zeros((200_000, *predictor.manifest.input_shape), np.float32)
        predictor.start(x).wait(timeout=0)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False, timeout=300
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_pace_is_the_least_recent_time_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    known = Pace()
    assert known.expected(1, 8) is None
    known.note(1, 8, 0.25)
    known.note(1, 8, 0.5)
    assert known.expected(1, 8) == 0.25
    assert known.expected(1, 32) == 1.0
    assert known.expected(1, 2) == 0.25
    assert known.expected(2, 8) is None
    now[0] += pace.LIFE + 0.1
    assert known.expected(1, 8) is None
    assert known.expected(1, 8, life=5) == 0.25
    known.note(1, 8, 0.5)
    assert known.expected(1, 8) == 0.25  # of two lives: this one may have been a slow moment
    now[0] += pace.LIFE + 0.1
    known.note(1, 8, 0.75)
    assert known.expected(1, 8) == 0.5
    now[0] += 2 * pace.LIFE + 0.1
    known.note(1, 8, 1.0)
    assert known.expected(1, 8) == 1.0
