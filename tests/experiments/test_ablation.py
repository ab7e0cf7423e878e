"""Designed experiments: their plan, their runs on Ray, and answers no stronger than the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from records import record
from tiny import tiny

from bdistil.cli.experiment_options import other_seeds
from bdistil.errors import SearchError, SpecError
from bdistil.experiments.ablation import areas, best_cell, comparisons, conclusion, curves
from bdistil.experiments.design import cell_of, cells_of, factors, label_of, runs_of
from bdistil.experiments.execute import Watch, make_teacher, unequal_tries
from bdistil.experiments.figures import Figures
from bdistil.experiments.plan import Plan
from bdistil.experiments.reproduction import (
    committed_curves,
    reproduction,
    seeds_of,
    verdict,
)
from bdistil.experiments.write_up import write_up
from bdistil.runs.run_directory import RunDirectory
from bdistil.store.durable import write_atomic


def spec_file(folder: Path, name: str, *overrides: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(tiny(f"name={name}", "search.rounds=2", *overrides).to_yaml())
    return str(path)


def stage(metric: float, flops: float, **more: float) -> dict[str, object]:
    names = ("validation", "parameters", "latency_ratio", "sup_norm", "edge", "largest_gap")
    counts = {"weak": True, "trials": 2, "weak_trials": 1, "rungs": 1, "seconds": 1.0}
    return {"metric": metric, "flops": flops, **dict.fromkeys(names, 1.0), **counts, **more}


SETS = ("one", "two")


def made_up(better: float, seeds: int = 12) -> list[Figures]:
    """Two cells on two data sets; the second cell is better by so much, give or take."""
    random, found = np.random.default_rng(3), []
    for data in SETS:
        for seed in range(seeds):
            for cell, gain in (("a", 0.0), ("b", better)):
                metric = 0.8 + gain + random.normal(0, 0.005)
                stages = [stage(metric - 0.1, 100), stage(metric, 400)]
                found.append(Figures(data, {"space.recipe": cell}, seed, 1.0, 1000, stages))
    return found


def answer_of(found: list[Figures]) -> str:
    scores = areas(curves(found))
    best = best_cell(scores)
    return conclusion(scores, comparisons(scores, best), best)


def test_a_clear_difference_is_told() -> None:
    answer = answer_of(made_up(0.05))
    assert answer.startswith("recipe=b has the largest area")
    assert "Worse: recipe=a (-0.0" in answer
    assert "do not tell" not in answer


def test_no_difference_is_not_made_one() -> None:
    answer = answer_of(made_up(0.0))
    assert "do not tell it from" in answer
    assert "Worse" not in answer


def test_few_pairs_are_no_proof() -> None:
    answer = answer_of(made_up(0.05, seeds=1))
    assert "Worse" not in answer
    assert "95% interval –" in answer
    assert "(mean over 2 data sets, 2 searches)" in answer


def test_a_reference_that_was_set_beforehand_needs_less_correction() -> None:
    third = [
        Figures(each.data, {"space.recipe": "c"}, each.seed, 1.0, 1000, each.stages)
        for each in made_up(0.004)[::2]
    ]
    scores = areas(curves(made_up(0.004) + third))
    chosen = comparisons(scores, "recipe=a").set_index("cell").p
    fixed = comparisons(scores, "recipe=a", chosen=False).set_index("cell").p
    assert (fixed <= chosen).all()
    assert (fixed < chosen).any()


def test_failed_searches_leave_their_pairs_out() -> None:
    found = [each for each in made_up(0.05) if (each.data, each.seed) != ("one", 0)]
    found.append(Figures("one", {"space.recipe": "a"}, 0, failed="no weak learner"))
    against = comparisons(areas(curves(found)), "recipe=b")
    assert against.pairs.tolist() == [23]
    with pytest.raises(SearchError, match="no weak learner"):
        curves(found[-1:])


def on_easy_and_hard(cell: str, easy: float, hard: float | None, seeds: int = 6) -> list[Figures]:
    """A cell's searches of two stages; on the hard data they may have found nothing."""
    found = []
    for data, metric in (("easy", easy), ("hard", hard)):
        for seed in range(seeds):
            each = Figures(data, {"space.recipe": cell}, seed, 1.0, 1000)
            if metric is None:
                each.failed = "no weak learner."
            else:
                each.stages = [stage(metric + 0.001 * seed, flops) for flops in (100, 400)]
            found.append(each)
    return found


def test_who_fails_on_hard_data_is_not_the_best_for_that(tmp_path: Path) -> None:
    found = on_easy_and_hard("a", 0.8, None) + on_easy_and_hard("b", 0.9, 0.3)
    answer = write_up(found, tmp_path, "?")
    assert answer.startswith("recipe=b has the largest area")
    assert "0.9025 of the teacher's metric (mean over 1 data set, 6 searches)" in answer
    assert "6 of 12 pairs of data set and seed, as not every cell" in answer
    assert "(recipe=a has none on hard (seeds 0, 1, 2, 3, 4, 5))" in answer


def test_the_best_may_have_no_ensemble_on_one_data_set(tmp_path: Path) -> None:
    found = on_easy_and_hard("a", 0.9, None) + on_easy_and_hard("b", 0.8, 0.3)
    assert write_up(found, tmp_path, "?").startswith("recipe=a has the largest area")
    page = (tmp_path / "README.md").read_text()
    [row] = [line for line in page.split("## hard")[1].splitlines() if "recipe=b" in line]
    assert row.startswith("| recipe=b | 0.3025 | – |")


def test_cells_that_share_no_pair_are_not_compared() -> None:
    found = on_easy_and_hard("a", 0.9, None)[:6] + on_easy_and_hard("b", 0.8, 0.3)[6:]
    answer = answer_of(found)
    assert "No other cell has an answer there: nothing can be compared with it." in answer
    assert "Not among those to choose from: recipe=" in answer


def test_one_stage_is_enough_for_an_answer() -> None:
    """Of 37 FLOPs, which log-spaced budgets round below."""
    found = made_up(0.05)
    for each in found:
        each.stages = [stage(each.stages[-1]["metric"], 37)]
    assert answer_of(found).startswith("recipe=b has the largest area")


@pytest.mark.parametrize("teacher", [0.0, -0.1, 0.04])
def test_shares_of_a_useless_teacher_are_left_out_and_told(teacher: float, tmp_path: Path) -> None:
    """Its R² is below 0: the share of the worst cell would be the largest."""
    found = on_easy_and_hard("a", 0.8, -0.3) + on_easy_and_hard("b", 0.9, -0.1)
    for each in found[6:12] + found[18:]:
        each.teacher = teacher
    answer = write_up(found, tmp_path, "?")
    assert answer.startswith("recipe=b has the largest area")
    assert "(mean over 1 data set, 6 searches)" in answer
    assert "leave out hard (seeds 0, 1, 2, 3, 4, 5), where that is below 0.05" in answer
    assert "inf" not in (tmp_path / "README.md").read_text().split("## hard")[1]


def test_without_any_share_the_curves_are_kept(tmp_path: Path) -> None:
    found = on_easy_and_hard("a", 0.8, 0.7) + on_easy_and_hard("b", 0.9, 0.8)
    for each in found:
        each.teacher = -0.1
    with pytest.raises(SearchError, match=r"no teacher's metric is 0\.05 or more"):
        write_up(found, tmp_path, "?")
    assert len(committed_curves(tmp_path)) == 48
    with pytest.raises(SpecError, match="no teacher of these data sets and seeds"):
        reproduction(curves(found), curves(found), ["easy", "hard"], [0, 1])


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        (["space.skip"], "a field and a list"),
        (["space.skip=true"], "a field and a list"),
        (["space.skip=[true]"], "at least two values"),
        (["=[1, 2]"], "a field and a list"),
        (["seed=[1, 2]", "seed=[3, 4]"], "names seed twice"),
        (["space.skip=[true"], "a field and a list"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(texts: list[str], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        factors(texts)


def test_cells_may_be_given_one_by_one() -> None:
    assert cell_of("space.label_share=0 'space.lr={low: 0.1, high: 1}'") == {
        "space.label_share": 0,
        "space.lr": {"low": 0.1, "high": 1},
    }


@pytest.mark.parametrize("text", ["", "space.skip", "=1", "space.skip='", "space.skip=["])
def test_a_cell_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"--cell .* must be one or more FIELD=VALUE"):
        cell_of(text)


def test_one_cell_is_no_comparison(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    answer = bdistil("ablate", spec_file(tmp_path, "one"), "--cell", "space.skip=true")
    assert answer.status == 2
    assert "or two --cell" in answer.errors


def test_every_combination_is_searched_with_every_seed(tmp_path: Path) -> None:
    specs = [spec_file(tmp_path, "one"), spec_file(tmp_path, "two")]
    cells = cells_of(factors(["space.skip=[true, false]", "space.connection=[none, gru, dense]"]))
    runs = runs_of(specs, cells, range(3))
    assert len({run.folder for run in runs}) == len(runs) == 6 * 2 * 3
    assert len({run.teacher_folder for run in runs}) == 2 * 3
    assert {run.spec.seed for run in runs} == {0, 1, 2}
    assert {(run.spec.space.skip, run.spec.space.connection) for run in runs} == {
        (skip, name) for skip in (True, False) for name in ("none", "gru", "dense")
    }
    assert runs[0].label == "skip=true connection=none"


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = Plan.of("ablation", "Which?", [spec_file(tmp_path, "one")], [], [{"space.skip": True}])
    plan.keep(tmp_path / "out")
    assert Plan.read(tmp_path / "out") == plan
    plan.model_copy(update={"question": "Why?"}).keep(tmp_path / "out")
    other = plan.model_copy(update={"cells": [{"space.skip": False}]})
    with pytest.raises(SpecError, match="holds another experiment"):
        other.keep(tmp_path / "out")
    (tmp_path / "out" / "experiment.json").write_text("{")
    with pytest.raises(SpecError, match=r"experiment\.json is damaged"):
        Plan.read(tmp_path / "out")


def test_an_experiment_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """One that did not know a field yet, which has its default, is the same experiment."""
    plan = Plan.of("ablation", "Which?", [spec_file(tmp_path, "one")], [], [{"space.skip": True}])
    plan.keep(tmp_path / "out")
    file = tmp_path / "out" / "experiment.json"
    earlier = json.loads(file.read_text())
    del earlier["spaces"]["one"]["data"]["series"]
    del earlier["spaces"]["one"]["teacher"]["weight_decay"]
    file.write_text(json.dumps(earlier))
    begun = plan.as_begun_in(tmp_path / "out")
    plan.keep(tmp_path / "out")
    assert json.loads(file.read_text()) == earlier
    assert begun == Plan.read(tmp_path / "out")

    earlier["spaces"]["one"]["teacher"]["weight_decay"] = 0.5
    file.write_text(json.dumps(earlier))
    with pytest.raises(SpecError, match="holds another experiment"):
        plan.check(tmp_path / "out")
    earlier["spaces"]["one"]["teacher"]["a_field_of_long_ago"] = 0.5
    file.write_text(json.dumps(earlier))
    with pytest.raises(SpecError, match="holds another experiment"):
        plan.check(tmp_path / "out")


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ([{"space.skip": True}, {"space.skip": True}], "'skip=true' is given twice"),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], "given twice"),
        ([{"seed": 1}, {"seed": 2}], "seed cannot vary"),
        ([{"workers.count": 1}, {"workers.count": 2}], r"workers\.count cannot vary"),
        ([{"method": "ours"}, {"method": "mine"}], "method cannot vary"),
        ([{"teacher.workers": 1}, {"teacher.workers": 2}], r"teacher\.workers cannot vary"),
    ],
)
def test_cells_that_are_one_search_are_refused(tmp_path: Path, cells: list, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        Plan.of("ablation", "", [spec_file(tmp_path, "one")], [], cells)


@pytest.mark.parametrize(
    "override", ["seed=77", "workers.cpus=99", "workers.autoscale=true", "workers={gpus: 1}"]
)
def test_overrides_that_would_be_ignored_are_refused(tmp_path: Path, override: str) -> None:
    source, cells = spec_file(tmp_path, "one"), [{"space.skip": True}, {"space.skip": False}]
    field = override.partition("=")[0]
    with pytest.raises(SpecError, match=rf"{field} cannot be given, .* --first-seed, --cpus"):
        Plan.of("ablation", "", [source], [override], cells)
    Path(source).write_text(tiny("name=one", override).to_yaml())  # of searches of its own
    Plan.of("ablation", "", [source], ["workers.compile=false"], cells)


def test_a_teacher_of_several_workers_is_refused(tmp_path: Path) -> None:
    source, cells = spec_file(tmp_path, "one"), [{"space.skip": True}, {"space.skip": False}]
    with pytest.raises(SpecError, match=r"teacher\.workers of one needs several .* leave it out"):
        Plan.of("ablation", "", [source], ["teacher.workers=2"], cells)


def test_an_experiment_needs_a_search_space() -> None:
    with pytest.raises(SpecError, match="at least one search space"):
        Plan.of("ablation", "", [], [], [{"space.skip": True}])


def test_fields_of_one_name_in_two_sections_are_two_cells() -> None:
    assert label_of({"space.epochs": "3"}) != label_of({"teacher.epochs": "3"})


def test_only_seeds_that_are_there_are_run_again(tmp_path: Path) -> None:
    committed = curves(made_up(0.05, seeds=3))
    assert seeds_of(committed, tmp_path, 2) == [0, 1]
    assert seeds_of(committed, tmp_path, None) == [0, 1, 2]
    with pytest.raises(SpecError, match="has 3; ask for at most so many"):
        seeds_of(committed, tmp_path, 4)
    with pytest.raises(SpecError, match="has figures of fewer than two seeds"):
        seeds_of(committed[committed.seed == 0], tmp_path, None)


def test_seeds_of_the_folder_that_the_tables_leave_out_are_told(tmp_path: Path) -> None:
    plan = Plan.of(
        "ablation",
        "?",
        [tiny().model_dump(mode="json")],
        [],
        cells_of(factors(["space.skip=[true, false]"])),
    )
    assert other_seeds(tmp_path, plan.runs([0])) == ""
    for run in plan.runs([0, 2, 11]):
        write_atomic(tmp_path / run.folder / "figures.json", b"{}")
    write_atomic(tmp_path / "runs" / "a folder of one's own" / "figures.json", b"{}")
    assert other_seeds(tmp_path, plan.runs([0])) == "2, 11"
    assert other_seeds(tmp_path, plan.runs([0, 2, 11])) == ""


def test_an_experiments_folder_is_no_run_but_holds_some(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    search = tmp_path / "runs" / "cube-0123456789-0"
    RunDirectory(search).create(tiny())
    said = " ".join(bdistil("status", tmp_path).errors.split())
    assert f"give one of the searches in it, such as {search}." in said


def test_search_spaces_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="share a name"):
        Plan.of("ablation", "", [spec_file(tmp_path, "one")] * 2, [], [{"space.skip": True}])


def test_a_varied_teacher_is_not_shared(tmp_path: Path) -> None:
    cells = cells_of(factors(["teacher.epochs=[1, 2]"]))
    runs = runs_of([spec_file(tmp_path, "one")], cells, [0])
    assert len({run.teacher_folder for run in runs}) == 2


def test_a_shared_teacher_is_trained_once_whichever_cell_asks_first(tmp_path: Path) -> None:
    cells = cells_of(factors(["space.skip=[true, false]"]))
    runs = runs_of([spec_file(tmp_path, "one")], cells, [0])
    weights = []
    for run in (*runs, *runs[::-1]):
        make_teacher(run, tmp_path)
        weights.append((tmp_path / run.teacher_folder / "teacher" / "model.safetensors").stat())
    assert len({(each.st_ino, each.st_mtime_ns) for each in weights}) == 1


def test_a_wrong_field_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown key 'space\.skp'"):
        runs_of([spec_file(tmp_path, "one")], [{"space.skp": 1}], [0])


def test_the_same_figures_reproduce_and_others_do_not() -> None:
    committed, ours = curves(made_up(0.05)), curves(made_up(0.05, seeds=5))
    table = reproduction(ours, committed, SETS, range(5))
    assert len(table) == 4
    least, most = table.allowed.min(), table.allowed.max()
    worst = (table.ours - table.committed).abs().max()
    assert verdict(table) == (
        f"Reproduces: all 4 means lie within what seeds explain (largest difference {worst:.4f}; "
        f"± {least:.4f} to {most:.4f} may be)."
    )
    assert verdict(table[:1]).startswith("Reproduces: the one mean lies within")
    ours.loc[(ours.data == "two") & (ours["space.recipe"] == "a"), "metric"] += 0.03
    table = reproduction(ours, committed, SETS, range(5))
    assert table[~table.holds][["data", "cell"]].to_numpy().tolist() == [["two", "recipe=a"]]
    assert "1 of 4 means differs: recipe=a on two" in verdict(table)


def test_one_seed_is_held_against_itself() -> None:
    """However far from the mean of all it was."""
    committed = curves(made_up(0.05))
    committed.loc[committed.seed == 0, "metric"] -= 0.1
    table = reproduction(committed[committed.seed == 0], committed, SETS, [0])
    assert table.holds.all()
    np.testing.assert_allclose(table.ours, table.committed)


def test_a_cell_without_an_answer_does_not_reproduce() -> None:
    committed = curves(made_up(0.05))
    lost = (committed.data == "two") & (committed["space.recipe"] == "a")
    ours = committed[~lost | (committed.seed > 2)]
    table = reproduction(ours, committed, SETS, range(12))
    assert table.missing.tolist() == [0, 0, 3, 0]
    assert "recipe=a on two has no answer in 3 runs" in verdict(table)
    table = reproduction(committed[~lost], committed, ["two"], range(12))
    assert table.holds.tolist() == [False, True]


def test_new_draws_of_the_same_cells_rarely_differ() -> None:
    """Holds in at least 95% of repetitions, as promised."""
    held = []
    for draw in range(60):
        random = np.random.default_rng(draw)
        rows = [
            {"data": "one", "cell": cell, "seed": seed, "stage": 1, "flops": 1.0, "teacher": 1.0,
             "metric": random.normal(0.9, 0.01), "half": half}
            for half in (0, 1) for cell in "abcd" for seed in range(4)
        ]  # fmt: skip
        table = pd.DataFrame(rows)
        halves = [of_half for _, of_half in table.groupby("half")]
        held.append(reproduction(*halves, ["one"], range(4)).holds.all())
    assert np.mean(held) >= 0.9  # 95% promised; 60 draws


def test_a_folder_without_an_experiment_is_refused(
    bdistil: Callable[..., Any], tmp_path: Path
) -> None:
    answer = bdistil("reproduce", tmp_path)
    assert answer.status == 2
    assert f"{tmp_path} holds no experiment" in answer.errors


def test_a_file_in_the_folders_place_is_told(bdistil: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    cells = ("--cell", "space.skip=true", "--cell", "space.skip=false")
    answer = bdistil("ablate", spec_file(tmp_path, "one"), *cells, "--out", tmp_path / "out")
    assert answer.status == 2
    assert "a file stands where a folder belongs; choose another place" in answer.errors


def test_rounds_of_searches_are_told_once_each_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [{"space.skip": "true"}, {"space.skip": "false"}]
    runs = runs_of([spec_file(tmp_path, "one")], cells, [0])
    journals = [RunDirectory(tmp_path / run.folder).journal for run in runs]
    for journal in journals:
        journal.path.parent.mkdir(parents=True)
    journals[0].append(record(1))  # of an earlier start
    told: list[tuple[str, int]] = []
    watch = Watch(runs, tmp_path, lambda run, rounds: told.append((run.label, rounds)))
    watch.look()
    monkeypatch.setattr("bdistil.experiments.execute.SECONDS_BETWEEN_LOOKS", 0)
    for number in (2, 3):
        journals[0].append(record(number))
    journals[1].append(record(1))
    watch.look()
    watch.look()
    journals[1].path.write_text("no journal\n")  # whose own search tells
    watch.look()
    assert told == [("skip=true", 3), ("skip=false", 1)]


@pytest.mark.parametrize("asked", [None, 4])
def test_cells_that_had_other_tries_than_others_are_told(tmp_path: Path, asked: int | None) -> None:
    cells = [{"space.early_accept": True}, {"space.early_accept": False}]
    source = spec_file(tmp_path, "one", f"search.tries_per_class={asked or 'null'}")
    runs = runs_of([source], cells, [0, 1])
    for run, tries in zip(runs, (4, 8, 4), strict=False):  # the last one has not begun
        search = run.spec.search.model_copy(update={"tries_per_class": asked or tries})
        RunDirectory(tmp_path / run.folder).create(run.spec.model_copy(update={"search": search}))
    told = unequal_tries(runs, tmp_path)
    assert len(told) == (asked is None)
    assert all("one: some searches had 4 tries a class and others 8" in text for text in told)
