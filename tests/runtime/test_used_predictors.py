"""A predictor that was used: pickled, copied, forked, shared by threads; and batches of nothing."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from deployed import deploy, examples

from bdistil import Predictor
from bdistil.export.ensemble import Ensemble
from bdistil.export.onnx_export import export_onnx
from bdistil.runtime import pace
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
