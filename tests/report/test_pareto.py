"""The Pareto front: exact, on validation, within limits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bdistil import Ensemble, Predictor
from bdistil.errors import SpecError
from bdistil.report.pareto import COSTS, Limits, Point, check_costs, front, points_of
from bdistil.runtime.onnx_runner import OnnxRunner


def point(stage: int, **figures: Any) -> Point:
    known = {"validation": 0.5, "test": 0.4, "flops": 100, "flops_fraction": 0.1}
    known |= {"parameters": 10, "memory": 40, "latency": 0.001, "latency_ratio": 0.5}
    known |= {"runtime": "torch", "way": "none", "batch": 1}
    return Point(run="a", stage=stage, **(known | figures))


points = st.lists(
    st.builds(
        point,
        stage=st.integers(1, 99),
        validation=st.integers(0, 5).map(lambda v: v / 5),
        flops=st.integers(1, 6),
        parameters=st.integers(1, 6),
    ),
    min_size=1,
    max_size=30,
)


@given(points, st.sampled_from([("flops",), ("parameters",), ("flops", "parameters")]))
def test_a_point_is_on_the_front_unless_another_beats_it(all_points: Any, costs: Any) -> None:
    def beats(a: Point, b: Point) -> bool:
        pairs = [(getattr(a, c), getattr(b, c)) for c in costs]
        pairs.append((-a.validation, -b.validation))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    def figures(p: Point) -> tuple[float, ...]:
        return (*(getattr(p, c) for c in costs), p.validation)

    found = front(all_points, costs)
    expected = {figures(p) for p in all_points if not any(beats(q, p) for q in all_points)}
    assert {figures(p) for p in found} == expected
    assert len(found) == len(expected)  # of equal points one
    assert [getattr(p, costs[0]) for p in found] == sorted(getattr(p, costs[0]) for p in found)


def test_limits() -> None:
    cheap = point(1, flops=10, flops_fraction=0.01, latency=1e-4, validation=0.3)
    dear = point(2, flops=90, flops_fraction=0.09, latency=1e-2, validation=0.6)
    both = [cheap, dear]
    assert Limits().within(both) == both
    assert Limits(flops=50).within(both) == Limits(flops="5%").within(both) == [cheap]
    assert Limits(latency=1e-3).within(both) == [cheap]
    assert Limits(metric=0.5).within(both) == [dear]
    with pytest.raises(SpecError, match=r"within the limits; the best has 0\.6000 .* 90 FLOPs"):
        Limits(flops=5).within(both)
    with pytest.raises(SpecError, match="teacher of a is known by its outputs alone"):
        Limits(flops="5%").within([point(1, flops_fraction=None)])


def test_what_cannot_be_read_is_refused_before_anything_is_timed(
    bdistil: Callable[..., Any], run: Path
) -> None:
    with pytest.raises(
        SpecError, match=r"must be a number of FLOPs above 0 or a share such as 10%"
    ):
        Limits(flops="few")
    with pytest.raises(SpecError, match="cost 'beauty' is unknown; choose latency, flops"):
        check_costs(("flops", "beauty"))
    for arguments, sentence in (
        (("--runtime", "abacus"), "--runtime 'abacus' is unknown; choose onnxruntime or torch"),
        (("--max-flops", "few"), "must be a number of FLOPs above 0"),
        (("--batch", 10**6), "--batch is 1000000; give 1 to 120"),
    ):
        answer = bdistil("pareto", run, *arguments)
        assert (answer.status, sentence in answer.errors) == (2, True), answer.errors
        assert "timing" not in answer.errors


def test_stages_are_timed_as_torch_runs_them_by_default(run: Path) -> None:
    found = points_of([run], "torch", batch=3)
    ways = Ensemble.from_pretrained(run).config.stacking
    assert [(p.runtime, p.batch) for p in found] == [("torch", 3)] * len(ways)
    teachers = [p.latency / p.latency_ratio for p in found if p.latency_ratio]
    assert teachers == pytest.approx([teachers[0]] * len(ways))
    assert {p.way for p in found} <= {"none", "block", "grouped", "apart", "aligned"}


def test_the_command_shows_and_exports_the_front(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    plot, out = tmp_path / "front.svg", tmp_path / "front"
    costs = [part for cost in COSTS for part in ("--cost", cost)]
    torch = ("--runtime", "torch")
    answer = bdistil("pareto", run, *costs, *torch, "--json", "--plot", plot, "--export", out)
    found = json.loads(answer.printed)
    status = json.loads(bdistil("status", run, "--json").printed)
    for shown in found:
        stage = status["stages"][shown["stage"] - 1]
        assert (shown["test"], shown["flops"]) == (stage["metric"], stage["flops"])
    assert plot.read_text().startswith("<svg")
    x = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    whole = Predictor(run)
    for shown in found:
        prefix = Ensemble.from_pretrained(out / f"run-{shown['stage']}")
        assert len(prefix) == shown["stage"]
        np.testing.assert_array_equal(prefix.predict(x), whole.predict(x, stages=shown["stage"]))


def test_a_run_elsewhere_is_named_by_its_uri(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "there" / "far")
    uri, out = f"file://{tmp_path}/there/far", tmp_path / "front"
    options = ("--runtime", "torch", "--cost", "flops")
    answer = bdistil("pareto", run, uri, *options, "--json", "--export", out)
    assert answer.status == 0, answer.errors
    found = json.loads(answer.printed)
    assert {each["run"] for each in found} <= {str(run), uri}
    assert {path.name.rpartition("-")[0] for path in out.iterdir()} <= {"run", "far"}
    alone = json.loads(bdistil("pareto", uri, *options, "--json").printed)
    assert {each["run"] for each in alone} == {uri}
    twice = bdistil("pareto", uri, f"{uri}/", *options, "--export", tmp_path / "other")
    assert twice.status == 2
    assert "two runs share a name" in " ".join(twice.errors.split())


def test_what_is_exported_runs_by_what_was_timed(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    first = json.loads(bdistil("status", run, "--json").printed)["stages"][0]["flops"]
    out = tmp_path / "front"
    answer = bdistil("pareto", run, "--max-flops", first, "--cost", "flops", "--export", out)
    assert "by onnxruntime" in answer.printed, answer.errors
    served = Predictor(out / "run-1")
    assert isinstance(served.runner, OnnxRunner)
    x = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    np.testing.assert_array_equal(served.predict(x), Predictor(run).predict(x, stages=1))


def test_runs_on_other_splits_are_not_compared(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    text = (run / "spec.yaml").read_text()
    (other / "spec.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    answer = bdistil("pareto", run, other)
    assert answer.status == 2
    assert "has other data or another seed" in answer.errors


def test_limits_come_before_the_front(
    bdistil: Callable[..., Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dearer stage that is better in less time hides one that a limit of FLOPs asks for."""
    hidden = point(1, flops=10, latency=2e-3, validation=0.5)
    better = point(2, flops=90, latency=1e-3, validation=0.6)
    monkeypatch.setattr("bdistil.report.pareto.points_of", lambda *_: [hidden, better])
    answer = bdistil("pareto", run, "--max-flops", 50, "--json")
    assert answer.status == 0, answer.errors
    assert [each["flops"] for each in json.loads(answer.printed)] == [10]


def test_runs_that_differ_in_views_and_weights_alone_are_compared(
    bdistil: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    spec = yaml.safe_load((other / "spec.yaml").read_text())
    spec["data"]["class_weight"] = "balanced"
    (other / "spec.yaml").write_text(yaml.safe_dump(spec))
    answer = bdistil("pareto", run, other, "--json")
    assert answer.status == 0, answer.errors
