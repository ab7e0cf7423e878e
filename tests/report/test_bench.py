"""The bench: everything is timed, against the right figures. How fast it is, is not tested."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from tiny import tiny
from torch import nn

from bdistil.cluster.launch import launch_search
from bdistil.errors import SpecError
from bdistil.report.bench import Bench, bench, onnx_subjects, torch_subjects
from bdistil.report.bench_peers import why_no_peers
from bdistil.report.plots import bench_plot
from bdistil.report.single_student import flops_of, single_student_peer, train_single_student
from bdistil.runtime.clock import microseconds
from bdistil.searching.result import SearchResult

STAGES = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    spec = tiny("workers.count=0", f"search.rounds={STAGES}", "space.connection=[dense, lstm]")
    return launch_search(spec, tmp_path_factory.mktemp("bench") / "run")


@pytest.fixture(scope="module")
def found(run: SearchResult) -> Bench:
    return bench(run, batches=(7, 1, 7), seconds=0)


def test_every_stage_is_timed_in_every_way(found: Bench) -> None:
    keys = {(t.runtime, t.way, t.stage, t.batch) for t in found.timings}
    assert len(keys) == len(found.timings)  # a batch size that is given twice is timed once
    stages = range(1, STAGES + 1)
    assert keys == {
        (runtime, way, stage, batch)
        for runtime in ("torch", "onnxruntime")
        for batch in (1, 7)
        for way, stage in [
            ("teacher", 0),
            *((w, s) for w in ("straight", "streamed") for s in stages),
        ]
    }


def test_figures_stand_beside_the_teachers(found: Bench, run: SearchResult) -> None:
    figures = run.evaluation
    for timing in found.timings:
        teacher = next(
            t for t in found.timings
            if t.way == "teacher" and (t.runtime, t.batch) == (timing.runtime, timing.batch)
        )  # fmt: skip
        assert timing.low <= timing.median <= timing.high
        assert timing.ratio == pytest.approx(timing.median / teacher.median)
        if timing.way == "straight":
            stage = figures.stages[timing.stage - 1]
            assert (timing.metric, timing.flops_ratio) == (stage.metric, stage.flops_fraction)
    assert [overhead.batch for overhead in found.overheads] == [1, 7]


def test_peers_are_fitted_on_the_training_split_alone(found: Bench, run: SearchResult) -> None:
    """By hand: what scikit-learn's model says of the test split."""
    data = run.dataset
    keys = [(peer.name, peer.batch) for peer in found.peers]
    assert keys == [(n, b) for b in (1, 7) for n in ("logistic regression", "histogram boosting")]
    boosting = HistGradientBoostingClassifier(random_state=0).fit(data.train.x, data.train.y)
    right = float((boosting.predict(data.test.x) == data.test.y).mean())
    assert found.peers[1].metric == found.peers[3].metric == pytest.approx(right)
    assert all(0 < peer.low <= peer.median <= peer.high for peer in found.peers)
    (note,) = found.notes
    best = max(trial.metric for trial in run.rounds[0].compared)
    assert f"has {best:.4f} on validation" in note


def test_a_single_student_is_as_dear_as_the_last_stage_and_trained_as_candidates_are(
    run: SearchResult, tmp_path: Path
) -> None:
    said: list[str] = []
    found = train_single_student(run, tmp_path / "single", said.append)
    [record], [stage], last = found.rounds, found.evaluation.stages, run.evaluation.stages[-1]
    width = record.student.width
    assert stage.flops == flops_of(run, "mlp", width) <= last.flops
    assert flops_of(run, "mlp", width + 1) > last.flops
    assert len(record.compared) == len(run.rounds[0].compared)
    theirs, ours = run.run.teacher.logits(), found.run.teacher.logits()
    np.testing.assert_array_equal(ours["test"], theirs["test"])
    assert f"mlp-{width}, as dear as the last stage" in said[0]
    peer, note = single_student_peer(run, tmp_path / "peer", said.append)
    logits = peer.call(run.dataset.test.x.astype(np.float32))
    right = (np.argmax(logits, axis=1) == run.dataset.test.y).mean()
    assert peer.metric == pytest.approx(right)
    assert (peer.runtime, f"single mlp-{width}") == ("onnxruntime", peer.name)
    assert f"{last.flops:,}" in note


def test_where_there_are_no_peers_it_is_said_why(run: SearchResult) -> None:
    assert why_no_peers(run.dataset) == ""
    images, labels = (
        replace(run.dataset, **c) for c in ({"domain": "image"}, {"task": "multilabel"})
    )
    assert "for tables, and the examples are of kind image" in why_no_peers(images)
    assert "one label or target, and there are several" in why_no_peers(labels)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(4.5612e-6, "4.56"), (9.999e-6, "10.0"), (1.2345e-3, "1,230"), (31.26e-6, "31.3"), (0, "0")],
)
def test_microseconds_have_three_digits_that_count(seconds: float, told: str) -> None:
    assert microseconds(seconds) == told


def test_all_subjects_compute_the_same_function(run: SearchResult, tmp_path: Path) -> None:
    ensemble, x = run.build_ensemble(), run.dataset.test.x[:5]
    subjects = [*torch_subjects(ensemble, None), *onnx_subjects(ensemble, None, tmp_path, x)]
    expected = [logits.detach().numpy() for logits in ensemble.stages(ensemble.as_inputs(x))]
    assert len(subjects) == 4 * STAGES
    for subject in subjects:
        answer = subject.call(x)
        last = answer[-1] if isinstance(answer, list) else getattr(answer, "logits", answer)
        array = last.detach().numpy() if hasattr(last, "detach") else last
        np.testing.assert_allclose(array, expected[subject.stage - 1], atol=1e-4)


@pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
@pytest.mark.parametrize("dynamic", [True, False])
def test_an_exported_program_is_timed_as_teacher(tmp_path: Path, dynamic: bool) -> None:
    """torch refuses to set a program's mode, and one of batch 1 takes no other."""
    program, teacher = tmp_path / "program.pt2", nn.Linear(16, 4)
    batch = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = (torch.zeros(3 if dynamic else 1, 16),)
    torch.export.save(torch.export.export(teacher, example, dynamic_shapes=batch), program)
    spec = tiny("workers.count=0", "search.rounds=1", f"teacher={{model: {program}}}")
    run = launch_search(spec, tmp_path / "run")
    [stage] = run.evaluation.stages
    assert stage.latency_ratio > 0
    kept = {t.way for t in bench(run, batches=(1,), seconds=0).timings if t.runtime == "torch"}
    assert kept == {"teacher", "straight", "streamed"}


def test_a_batch_beyond_the_data_is_refused(run: SearchResult) -> None:
    with pytest.raises(SpecError, match="--batch must lie between 1 and"):
        bench(run, batches=(10**6,))


def test_from_the_command_line(bdistil: Callable[..., Any], run: SearchResult) -> None:
    answer = bdistil("bench", run.directory, "--batch", "2", "--seconds", "0", "--json")
    assert answer.status == 0, answer.errors
    assert "timing" in answer.errors
    assert "writing ONNX graphs" in answer.errors
    figures = json.loads(answer.printed)
    assert len(figures["timings"]) == 2 * (2 * STAGES + 1)
    assert json.loads((run.directory / "bench.json").read_text()) == figures
    assert (run.directory / "bench.svg").read_text().startswith("<svg")


def test_the_plot_holds_a_curve_for_each_cost(found: Bench) -> None:
    svg = bench_plot(found.timings, "classification")
    for label in ("FLOPs", "torch", "onnxruntime", "teacher"):
        assert f"<!-- {label} -->" in svg or label in svg


def test_without_a_batch_size_small_test_splits_do(run: SearchResult) -> None:
    examples = len(run.dataset.test.x)
    assert {timing.batch for timing in bench(run, seconds=0).timings} == {1, min(64, examples)}
