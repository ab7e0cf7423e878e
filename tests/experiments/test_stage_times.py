"""Time in comparisons: what is timed answers as it should, and budgets of time are compared."""

from __future__ import annotations

import math
import statistics
import warnings

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import StudentConfig
from bdistil.errors import BdistilWarning
from bdistil.experiments import comparison, write_up
from bdistil.experiments.clock import clocked, prefixes
from bdistil.export.checkpoint import build_student
from bdistil.report import plots


def ensemble() -> ProgressiveEnsemble:
    sizes: list[int] = []
    students = []
    for width in (2, 3, 4):
        config = StudentConfig("mlp", width, "dense", skip=True)
        student = build_student(config, (8,), 3, sizes)
        nn.init.normal_(student.head.weight)
        students.append(student)
        sizes.append(student.features)
    return ProgressiveEnsemble(3, students).eval()


def test_each_prefix_answers_its_stage() -> None:
    whole, x = ensemble(), torch.randn(5, 8)
    for prefix, stage in zip(prefixes(whole), whole.stages(x), strict=True):
        torch.testing.assert_close(prefix(x), stage)


def test_all_stages_are_timed_beside_the_teacher() -> None:
    first, _, last = prefixes(ensemble())
    times = clocked([first, None, last], nn.Linear(8, 3), (8,))
    assert times[1] == {}
    for each in (times[0], times[2]):
        assert each["latency"] > 0
    seconds = [each["latency"] / each["latency_ratio"] for each in (times[0], times[2])]
    assert seconds[0] == pytest.approx(seconds[1])  # the same teacher in the same turns


def test_without_a_network_there_are_seconds_alone() -> None:
    [times] = clocked(prefixes(ensemble())[:1], None, (8,))
    assert set(times) == {"latency"}


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no such kernel")


def test_a_teacher_that_fails_is_named_and_left_out() -> None:
    with pytest.warns(BdistilWarning, match="time is left out: no such kernel"):
        [times] = clocked(prefixes(ensemble())[:1], Broken(), (8,))
    assert set(times) == {"latency"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clocked([None], nn.Linear(8, 3), (8,)) == [{}]


def table() -> pd.DataFrame:
    """Ours and the oracle answer alike; ours takes twice the time for the same FLOPs."""
    rows = [
        {
            "data": "one", "cell": cell, "seed": 0, "stage": stage, "teacher": 0.5,
            "metric": metric, "flops": 100.0 * stage, "flops_share": 0.1 * stage,
            "latency": factor * stage * 1e-6, "latency_ratio": factor * stage / 10,
        }
        for cell, factor in (("method=oracle", 1.0), ("method=ours", 2.0))
        for stage, metric in enumerate((0.2, 0.3, 0.4), start=1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_who_is_slower_has_less_area_in_time() -> None:
    assert comparison.known(table()).loc["method=ours", "one"] == pytest.approx(1)
    assert comparison.known_in_time(table()).loc["method=ours", "one"] < 0.95


def test_a_later_stage_takes_no_less_time_than_the_one_before() -> None:
    shaken = table()
    shaken.loc[shaken.stage == 2, "latency_ratio"] = 0.0
    found = comparison.known_in_time(shaken)
    assert found.loc["method=oracle", "one"] == pytest.approx(1)
    assert math.isfinite(found.loc["method=ours", "one"])


def test_methods_without_times_are_left_out_of_budgets_of_time() -> None:
    other = table()[lambda all_: all_.cell == "method=ours"].assign(cell="method=single")
    both = pd.concat([table(), other.assign(latency=None, latency_ratio=None)], ignore_index=True)
    assert set(comparison.known_in_time(both).index) == {"method=oracle", "method=ours"}
    assert comparison.known_in_time(both.assign(latency_ratio=None)).empty


def test_every_stage_has_its_costs_beside_its_metric() -> None:
    found = comparison.stages_of(pd.concat([table(), table().assign(seed=1, latency=5e-6)]))
    last = found[(found.method == "ours") & (found.stage == 3)].iloc[0]
    assert last.metric == pytest.approx(0.8)
    assert last.FLOPs == pytest.approx(0.3)
    assert last.time == pytest.approx(0.6)
    assert last.microseconds == pytest.approx((6 + 5) / 2)


def test_the_report_has_both_tables_where_there_are_times() -> None:
    timed = "\n".join(write_up.by_the_clock(table(), table()))
    assert "## Budget of time known" in timed
    assert "| one | ours | 3 | 0.8 | 0.3 | 0.6 | 6 |" in timed
    untimed = table().assign(latency=None, latency_ratio=None)
    assert "## Budget of time known" not in "\n".join(write_up.by_the_clock(untimed, untimed))


def test_methods_at_costs_of_their_own_are_shown_and_not_compared() -> None:
    exits = table()[lambda all_: all_.cell == "method=ours"].assign(cell="method=teacher-exits")
    everything = pd.concat([table(), exits.assign(flops=1e9)], ignore_index=True)
    kept = comparison.within_budgets(everything)
    assert comparison.known(kept).equals(comparison.known(table()))
    assert "| one | teacher-exits | 3 |" in "\n".join(write_up.by_the_clock(kept, everything))


def test_the_plot_has_shares_of_the_teachers_time_and_their_spread_over_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "time of one example, of the teacher" in plots.times_plot(table(), "one")
    monkeypatch.setattr(plots, "_svg", lambda figure, name: figure)
    moved = table().assign(seed=1, metric=lambda all_: all_.metric + 0.02)
    [axes] = plots.times_plot(pd.concat([table(), moved]), "one").axes
    oracle, ours = axes.containers
    assert (oracle.get_label(), ours.get_label()) == ("oracle", "ours")
    line, _, (_, upright) = ours
    times, metrics = line.get_data()
    assert times == pytest.approx([0.2, 0.4, 0.6])
    assert metrics == pytest.approx([0.42, 0.62, 0.82])
    lengths = [high[1] - low[1] for low, high in upright.get_segments()]
    assert lengths == pytest.approx([2 * statistics.stdev([0.4, 0.44])] * 3)
