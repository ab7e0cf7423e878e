"""Sequences step by step: in chunks of any lengths, the end is the answer to the whole."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_ensembles import small_ensemble

from bdistil import Predictor
from bdistil.errors import DataError, SpecError
from bdistil.export.early_prediction import beginnings
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import PrefixGraph
from bdistil.export.onnx_export import export_module, export_streams
from bdistil.runtime.hashes import HASHES_FILE, describe_files

STEPS, INPUTS = 6, 3
ENSEMBLES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "carried": [
        ("gru(layers=2)", 2, "none", True),
        ("lstm(layers=2)", 3, "gru", True),
    ],
    "anew": [("cnn1d", 1, "dense", True), ("gru(bidirectional=true)", 2, "lstm", False)],
    "one by one": [("fastgrnn", 2, "dense", True), ("cnn1d(cells=1)", 2, "residual", True)],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, students in ENSEMBLES.items():
        torch.manual_seed(0)
        ensemble = small_ensemble(*students, input_shape=(STEPS, INPUTS))
        rules = (ensemble.shift[:1], ensemble.scale[:1])  # as the training split's are
        ensemble = Ensemble(ensemble.config, list(ensemble), *rules)
        folders[name] = tmp_path_factory.mktemp(name)
        ensemble.save_pretrained(folders[name])
        anew = export_streams(ensemble, folders[name] / "onnx")
        hashes = describe_files(folders[name] / "onnx", ensemble.weights_hash())
        (folders[name] / "onnx" / HASHES_FILE).write_bytes(hashes)
        assert anew == {k for k, *_ in students if "cnn" in k or "bidirectional" in k}
    return folders


def test_graphs_written_before_do_not_fix_the_number_of_steps(tmp_path: Path) -> None:
    ensemble = small_ensemble(("gru", 2, "none", True), input_shape=(STEPS, INPUTS))
    rules = (ensemble.shift[:1], ensemble.scale[:1])
    ensemble = Ensemble(ensemble.config, list(ensemble), *rules)
    export_module(PrefixGraph(ensemble, 1), sequences(2), tmp_path / "prefix.onnx")
    assert export_streams(ensemble, tmp_path) == frozenset()


def sequences(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, STEPS, INPUTS)).astype(np.float32)


@st.composite
def chunkings(draw: st.DrawFn) -> list[slice]:
    cuts = [0, *sorted(draw(st.sets(st.integers(1, STEPS - 1)))), STEPS]
    return [slice(*pair) for pair in itertools.pairwise(cuts)]


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("name", ENSEMBLES)
@settings(max_examples=15)
@given(chunks=chunkings(), rows=st.integers(1, 3), seed=st.integers(0, 99), less=st.integers(0, 1))
def test_the_end_of_a_stream_is_the_answer_to_the_whole_sequence(
    saved: dict[str, Path],
    backend: str,
    name: str,
    chunks: list[slice],
    rows: int,
    seed: int,
    less: int,
) -> None:
    predictor, x = Predictor(saved[name], backend=backend), sequences(rows, seed)
    torches = Predictor(saved[name], backend="torch")
    wanted = len(predictor) - less
    stream = predictor.stream(wanted)
    for chunk in chunks:
        answers = stream.push(x[:, chunk])
        assert [answer.stages[0] for answer in answers] == list(range(1, wanted + 1))
    assert stream.heard == STEPS
    for stage, answer in enumerate(answers, start=1):
        whole = torches.answer(x, stages=stage)
        np.testing.assert_allclose(answer.probabilities, whole.probabilities, atol=1e-5)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("name", ["carried", "anew"])
@given(heard=st.integers(1, STEPS), chunk=st.integers(1, STEPS))
def test_on_the_way_it_is_what_early_prediction_measures(
    saved: dict[str, Path], backend: str, name: str, heard: int, chunk: int
) -> None:
    predictor, x = Predictor(saved[name], backend=backend), sequences(2, heard)
    stream = predictor.stream()
    for start in range(0, heard, chunk):
        answers = stream.push(x[:, start : min(start + chunk, heard)])
    ensemble = Ensemble.from_pretrained(saved[name])
    scaled = ensemble.standardise(torch.as_tensor(x))
    known = beginnings(scaled, heard / STEPS, cut=name == "carried")
    for stage, answer in enumerate(answers, start=1):
        with torch.no_grad():
            expected = ensemble.prefix(stage)(known).softmax(1)
        np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))]
)
def test_a_stream_can_be_copied_and_goes_on_twice(
    saved: dict[str, Path], copied: Any, backend: str
) -> None:
    predictor, x = Predictor(saved["carried"], backend=backend), sequences(3)
    other = sequences(3, seed=1)
    stream = predictor.stream()
    stream.push(x[:, :4])
    branch = copied(stream)
    branched = np.concatenate([x[:, :4], other[:, 4:]], axis=1)
    for own, steps, whole in ((branch, other, branched), (stream, x, x)):
        found = own.push(steps[:, 4:])[-1].probabilities
        expected = predictor.stream().push(whole)[-1].probabilities
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sequences_that_go_on_together_do_not_see_one_another(saved: dict[str, Path]) -> None:
    predictor, x = Predictor(saved["one by one"], backend="onnx"), sequences(3)
    together, alone = predictor.stream(), predictor.stream()
    for step in range(STEPS):
        several = together.push(x[:, step : step + 1])[-1].probabilities
        single = alone.push(x[1:2, step : step + 1])[-1].probabilities
        np.testing.assert_allclose(several[1:2], single, atol=1e-6)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_no_sequences_give_no_answers(saved: dict[str, Path], backend: str) -> None:
    stream = Predictor(saved["carried"], backend=backend).stream()
    answers = stream.push(sequences(0))
    assert [answer.probabilities.shape for answer in answers] == [(0, 3)] * 2


@pytest.mark.parametrize(
    ("pushed", "message"),
    [
        ([np.zeros((1, 2, 4))], r"steps have shape \(1, 2, 4\); give \(sequences, steps, 3\)"),
        ([np.zeros((2, 3))], r"steps have shape \(2, 3\)"),
        ([np.zeros((1, 0, 3))], "one step at least"),
        ([np.zeros((1, 2, 3)), np.zeros((2, 2, 3))], "2 sequences now and were 1 before"),
        ([np.zeros((1, 4, 3)), np.zeros((1, 3, 3))], "has 6 steps, and 7 would be heard; begin"),
        ([np.full((1, 1, 3), np.nan)], "x"),
    ],
)
def test_steps_that_do_not_fit_are_refused_and_change_nothing(
    saved: dict[str, Path], pushed: list[np.ndarray], message: str
) -> None:
    predictor, x = Predictor(saved["carried"], backend="onnx"), sequences(1)
    stream, other = predictor.stream(), predictor.stream()
    for steps in pushed[:-1]:
        stream.push(steps)
        other.push(steps)
    with pytest.raises(DataError, match=message):
        stream.push(pushed[-1])
    rest = x[:, stream.heard :]
    np.testing.assert_array_equal(
        stream.push(rest)[-1].probabilities, other.push(rest)[-1].probabilities
    )


def test_what_cannot_stream_is_refused_with_the_reason(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    small_ensemble(("mlp", 2, "none", True)).save_pretrained(tmp_path / "table")
    with pytest.raises(SpecError, match=r"takes examples of shape \(5,\), no sequences"):
        Predictor(tmp_path / "table").stream()
    small_ensemble(("gru", 2, "none", True)).save_pretrained(tmp_path / "by step")
    with pytest.raises(SpecError, match="the standardisation depends on the step"):
        Predictor(tmp_path / "by step", backend="torch").stream()
    with pytest.raises(DataError, match="stages is 3"):
        Predictor(saved["carried"], backend="onnx").stream(3)
    (saved["anew"] / "onnx-int8").mkdir(exist_ok=True)
    with pytest.raises(SpecError, match=r"no stream_2\.onnx, so it cannot go step by step; export"):
        Predictor(saved["anew"], backend="int8").stream()
