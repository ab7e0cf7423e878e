"""Cross-fitting: out of fold means out of fold, folds survive a kill, and the game is theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_teachers import OWN, export, loaded, spec_of, users_folder
from tiny import tiny

from bdistil.cluster.launch import launch_search, launch_teacher
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import StudentConfig
from bdistil.data.dataset import Dataset, Split
from bdistil.data.standardise import standardised
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError, TeacherError
from bdistil.export.checkpoint import build_student
from bdistil.report.report import render
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching import problem
from bdistil.searching import sup_norms as module
from bdistil.searching.outcome import load_students, run_dataset
from bdistil.searching.result import SearchResult
from bdistil.searching.sup_norms import sup_norms
from bdistil.spec import Spec, load_spec
from bdistil.teachers import crossfit
from bdistil.teachers.crossfit import fit_fold, folds_of, out_of_fold
from bdistil.teachers.obtain import check_teacher, game_logits, obtain_teacher
from bdistil.teachers.onnx_graph import OnnxSource
from bdistil.teachers.select import teacher_source
from bdistil.teachers.teacher_store import OUT_OF_FOLD, TeacherStore

pytestmark = pytest.mark.filterwarnings("ignore:the teacher's validation metric")

HERE = ("workers.count=0", "search.rounds=2", "search.tries_per_class=1", "space.connection=dense")
CROSS = (*HERE, "teacher.crossfit=3", "teacher.epochs=2")


Command = Callable[..., Any]


def trees(*overrides: str) -> Spec:
    """A teacher that repeats its labels: a fully grown tree."""
    return load_spec(
        {
            "data": {"name": "wine"},
            "teacher": {"model": "sklearn.tree:DecisionTreeClassifier", "crossfit": 4},
            "workers": {"count": 0},
        },
        overrides,
    )


def flipped(dataset: Dataset, row: int) -> Dataset:
    """The data with another label on one training example."""
    y = dataset.train.y.copy()
    y[row] = (y[row] + 1) % dataset.outputs
    return replace(dataset, train=Split(dataset.train.x, y))


@pytest.mark.parametrize("model", ["sklearn.tree:DecisionTreeClassifier", "mlp"])
def test_a_label_does_not_reach_the_teacher_of_its_own_example(model: str) -> None:
    options = "{widths: [8]}" if model == "mlp" else "{}"
    few = ["teacher.epochs=2"] if model == "mlp" else []
    spec = trees(f"teacher.model={model}", f"teacher.options={options}", *few)
    dataset = load_dataset(spec.data, 0)
    folds = folds_of(dataset, 4, 0)

    def table(data: Dataset) -> np.ndarray:
        logits = np.empty((len(data.train), data.outputs), np.float32)
        for rows in folds.values():
            logits[rows] = fit_fold(data, spec, rows)
        return logits

    before = table(dataset)
    for row in (0, 17):
        after = table(flipped(dataset, row))
        own = next(rows for rows in folds.values() if row in rows)
        others = np.setdiff1d(np.arange(len(before)), own)
        np.testing.assert_array_equal(after[own], before[own])
        assert (after[others] != before[others]).any()  # while others do hear of it


def test_every_example_is_in_one_fold_and_classes_are_spread() -> None:
    dataset = load_dataset(trees().data, 0)
    folds = folds_of(dataset, 4, 0)
    assert list(folds) == [1, 2, 3, 4]
    assert sorted(np.concatenate(list(folds.values()))) == list(range(len(dataset.train)))
    counts = np.array([np.bincount(dataset.train.y[rows], minlength=3) for rows in folds.values()])
    assert (np.ptp(counts, axis=0) <= 1).all()
    again, other = folds_of(dataset, 4, 0), folds_of(dataset, 4, 1)
    assert all((folds[b] == again[b]).all() for b in folds)
    assert any(not np.array_equal(folds[b], other[b]) for b in folds)


def test_rows_of_equal_features_are_in_one_fold() -> None:
    whole = load_dataset(trees().data, 0)
    x, y = whole.train.x.copy(), whole.train.y
    x[40:70] = x[:30]
    folds = folds_of(replace(whole, train=Split(x, y)), 4, 0)
    assert sorted(np.concatenate(list(folds.values()))) == list(range(len(y)))
    for rows in folds.values():
        assert np.isin(np.arange(40, 70)[np.isin(np.arange(30), rows)], rows).all()
        assert np.isin(np.arange(30)[np.isin(np.arange(40, 70), rows)], rows).all()
    alike = np.flatnonzero(y == 1)
    x[alike] = x[alike[0]]  # a class of one example: all folds but one would lack it
    folds = folds_of(replace(whole, train=Split(x, y)), 4, 0)
    counts = [(y[rows] == 1).sum() for rows in folds.values()]
    assert max(counts) - min(counts) <= 1
    x[10:] = x[np.arange(10, len(x)) % 10]  # ten different rows: all of them would be torn anyway
    sizes = [len(rows) for rows in folds_of(replace(whole, train=Split(x, y)), 4, 0).values()]
    assert max(sizes) - min(sizes) <= 1


def test_the_table_is_what_each_folds_own_teacher_says(tmp_path: Path) -> None:
    spec = trees()
    dataset, store = load_dataset(spec.data, 0), TeacherStore(tmp_path / "teacher")
    logits = obtain_teacher(store, dataset, spec)
    for rows in folds_of(dataset, 4, 0).values():
        rest = np.setdiff1d(np.arange(len(dataset.train)), rows)
        teacher = teacher_source(dataset, spec).obtain(rest)
        part = Split(dataset.train.x[rows], dataset.train.y[rows])
        np.testing.assert_array_equal(logits[OUT_OF_FOLD][rows], teacher.logits(part, None))
    deployed = teacher_source(dataset, spec).obtain()
    for name in ("train", "validation", "test"):
        split = getattr(dataset, name)
        np.testing.assert_array_equal(logits[name], deployed.logits(split, None))
    sure = (logits["train"].argmax(axis=1) == dataset.train.y).mean()
    assert sure == 1  # the deployed tree repeats its labels, those out of fold cannot
    assert (logits[OUT_OF_FOLD].argmax(axis=1) == dataset.train.y).mean() < 1
    assert store.card().crossfit == 4
    assert sorted(os.listdir(store.path)) == ["config.json", "logits.safetensors"]


def test_the_game_is_played_on_the_out_of_fold_table(tmp_path: Path) -> None:
    run = launch_search(tiny(*CROSS), tmp_path / "run").run
    logits = run.teacher.logits()
    game = game_logits(logits)
    assert game["train"] is logits[OUT_OF_FOLD]
    assert game["validation"] is logits["validation"]
    dataset = run_dataset(run)
    inputs = torch.from_numpy(standardised(dataset, dataset.train))
    first = load_students(run, dataset).students[0](inputs, [])[0].detach().numpy()
    gap = run.journal.read()[0].result.largest_gap
    assert gap == pytest.approx(np.abs(first - logits[OUT_OF_FOLD]).max(), rel=1e-5)
    assert gap != pytest.approx(np.abs(first - logits["train"]).max(), rel=1e-3)


def test_both_sup_norms_are_reported(tmp_path: Path, bdistil: Command) -> None:
    run = launch_search(tiny(*CROSS), tmp_path / "run").run
    logits, dataset = run.teacher.logits(), run_dataset(run)
    inputs = torch.from_numpy(standardised(dataset, dataset.train))
    with torch.no_grad():
        stages = [f.numpy() for f in load_students(run, dataset).stages(inputs)]
    for figures, f in zip(SearchResult(run).evaluation.stages, stages, strict=True):
        assert figures.sup_norm == pytest.approx(np.abs(f - logits["train"]).max(), rel=1e-5)
        expected = np.abs(f - logits[OUT_OF_FOLD]).max()
        assert figures.sup_norm_out_of_fold == pytest.approx(expected, rel=1e-5)
    shown = json.loads(bdistil("status", run.path, "--json").printed)
    assert {"sup_norm", "sup_norm_out_of_fold"} <= shown["stages"][0].keys()
    assert "max|F − G̃|" in render(SearchResult(run))


def test_without_crossfit_there_is_one_sup_norm(tmp_path: Path) -> None:
    run = launch_search(tiny(*HERE), tmp_path / "run").run
    stage = SearchResult(run).evaluation.stages[0]
    assert stage.sup_norm > 0
    assert stage.sup_norm_out_of_fold is None
    assert OUT_OF_FOLD not in run.teacher.logits()


def test_sup_norms_need_no_whole_split_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(tiny().data, 0)
    ensemble = ProgressiveEnsemble(dataset.outputs)
    ensemble.append(_student(dataset))
    ensemble.eval()
    table = np.random.default_rng(0).normal(size=(len(dataset.train), dataset.outputs))
    tables = {"a": table.astype(np.float32), "b": -table.astype(np.float32)}
    whole = sup_norms(ensemble, dataset, tables)
    chunks = module.chunks
    monkeypatch.setattr(module, "chunks", lambda rows: chunks(rows, 7))
    monkeypatch.setattr(problem, "shard_rows", lambda rows, *_: chunks(rows, 50))
    pieces = sup_norms(ensemble, dataset, tables)
    assert pieces["a"] == pytest.approx(whole["a"])
    assert pieces["b"] == pytest.approx(whole["b"])


def _student(dataset: Dataset):
    config = StudentConfig("mlp", 3, "none", False)
    return build_student(config, dataset.input_shape, dataset.outputs, [])


class KilledError(Exception):
    """Stands in for a kill."""


def test_a_killed_cross_fit_goes_on_with_the_missing_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny(*CROSS)
    whole = launch_search(spec, tmp_path / "whole").run
    original, fits = crossfit.fit_fold, []

    def dies_at_the_third(*arguments: object) -> object:
        fits.append(arguments)
        if len(fits) == 3:
            raise KilledError
        return original(*arguments)

    monkeypatch.setattr(crossfit, "fit_fold", dies_at_the_third)
    with pytest.raises(KilledError):
        launch_search(spec, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    assert not run.teacher.exists
    assert [run.teacher.fold_file(b).exists() for b in (1, 2, 3)] == [True, True, False]
    told: list[str] = []
    run = launch_search(spec, tmp_path / "run", reporter=_Told(told)).run
    assert len(fits) == 4  # the one that was missing, and no other
    np.testing.assert_array_equal(
        run.teacher.logits()[OUT_OF_FOLD], whole.teacher.logits()[OUT_OF_FOLD]
    )
    assert [line for line in told if "Cross-fitting" in line] == [
        "Cross-fitting: 2 of 3 teachers fitted.",
        "Cross-fitting: 3 of 3 teachers fitted.",
    ]


class _Told:
    def __init__(self, lines: list[str]) -> None:
        self.message = lines.append

    def __getattr__(self, name: str):
        return lambda *_: None


@pytest.mark.parametrize("harm", ["other data", "other rows", "damage"])
def test_a_fold_of_something_else_is_fitted_anew(tmp_path: Path, harm: str) -> None:
    spec, store = trees(), TeacherStore(tmp_path / "teacher")
    dataset = load_dataset(spec.data, 0)
    table = np.array(out_of_fold(store, dataset, spec, "hash"))
    rows = folds_of(dataset, 4, 0)[2]
    wrong = np.zeros((len(rows), dataset.outputs), np.float32)
    if harm == "other data":
        store.save_fold(2, rows, wrong, "another hash")
    elif harm == "other rows":
        store.save_fold(2, rows[::-1], wrong, "hash")
    else:
        store.fold_file(2).write_bytes(store.fold_file(2).read_bytes()[:100])
    told: list[tuple[int, int]] = []
    again = out_of_fold(store, dataset, spec, "hash", folded=lambda *t: told.append(t))
    np.testing.assert_array_equal(again, table)
    assert told == [(3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("model", "more"),
    [("code.py:network", OWN), ("model.pt2", {}), ("columns", {"columns": ["a", "b", "c"]})],
)
def test_a_teacher_that_comes_trained_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, more: dict[str, object]
) -> None:
    users_folder(tmp_path, monkeypatch)
    if model == "columns":
        x = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
        np.savez("data.npz", x=x, y=np.arange(90) % 3, teacher=x[:, :3])
        spec = load_spec({"data": {"path": "data.npz"}, "teacher": {"crossfit": 5}})
    else:
        if model == "model.pt2":
            export(model)
        spec = spec_of(model, crossfit=5, **more)
    with pytest.raises(TeacherError, match=r"teacher\.crossfit is 5.*anew.*teacher\.crossfit=0"):
        check_teacher(loaded(spec), spec)


def test_an_onnx_teacher_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users_folder(tmp_path, monkeypatch)
    spec = spec_of("model.onnx", crossfit=5)
    source = OnnxSource(loaded(spec), spec)
    with pytest.raises(TeacherError, match=r"teacher\.crossfit is 5.*model\.onnx"):
        crossfit.check_folds(source, loaded(spec), spec)


def test_folds_need_examples() -> None:
    spec = trees("teacher.crossfit=1000")
    with pytest.raises(TeacherError, match=r"teacher\.crossfit is 1000.*lower"):
        check_teacher(load_dataset(spec.data, 0), spec)
    for bad in (1, -2):
        with pytest.raises(SpecError, match=r"teacher\.crossfit"):
            trees(f"teacher.crossfit={bad}")


def grouped(y: np.ndarray, groups: np.ndarray, task: str = "classification") -> Dataset:
    """Training examples of some groups, and wine's other splits."""
    train = Split(np.zeros((len(y), 13), np.float32), y, groups=groups)
    return replace(load_dataset(trees().data, 0), train=train, task=task)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("speakers", [4, 7, 40])
def test_folds_keep_groups_whole(speakers: int, task: str) -> None:
    random = np.random.default_rng(speakers)
    groups = np.concatenate([np.arange(speakers), random.integers(0, speakers, 400)]) + 5
    dataset = grouped(random.integers(0, 3, len(groups)), groups, task)
    folds = folds_of(dataset, 4, 0)
    assert sorted(np.concatenate(list(folds.values()))) == list(range(len(groups)))
    for rows in folds.values():
        assert len(rows) > 0
        assert (np.diff(rows) > 0).all()
        assert not set(groups[rows]) & set(np.delete(groups, rows))
    if speakers == 40:
        sizes = [len(rows) for rows in folds.values()]
        assert max(sizes) - min(sizes) <= np.bincount(groups).max()
    again = folds_of(dataset, 4, 0)
    assert all((folds[b] == again[b]).all() for b in folds)


def test_groups_of_one_class_each_are_spread_by_class() -> None:
    groups = np.repeat(np.arange(12), 5)  # patients, each with one diagnosis
    dataset = grouped(groups % 3, groups)
    counts = [
        np.bincount(dataset.train.y[rows], minlength=3) for rows in folds_of(dataset, 4, 0).values()
    ]
    np.testing.assert_array_equal(counts, np.full((4, 3), 5))


def test_folds_need_groups() -> None:
    groups = np.arange(90) % 3
    with pytest.raises(TeacherError, match=r"crossfit is 4.*3 groups of data\.group.*to 3 at most"):
        check_teacher(grouped(groups, groups), trees())
    with pytest.raises(TeacherError, match=r"1 group of data\.group.*teacher\.crossfit=0"):
        check_teacher(grouped(groups, 0 * groups), trees())


def test_a_shared_teacher_brings_its_folds(tmp_path: Path) -> None:
    spec = tiny(*CROSS)
    shared = launch_teacher(spec, tmp_path / "teacher")
    run = launch_search(spec, tmp_path / "run", teacher_dir=shared.path).run
    np.testing.assert_array_equal(
        run.teacher.logits()[OUT_OF_FOLD], shared.teacher.logits()[OUT_OF_FOLD]
    )


def test_regression_is_cross_fitted_too(tmp_path: Path) -> None:
    spec = tiny(*HERE, "data={name: diabetes}", "teacher.crossfit=2")
    run = launch_search(spec, tmp_path / "run").run
    logits = run.teacher.logits()
    assert logits[OUT_OF_FOLD].shape == logits["train"].shape
    assert SearchResult(run).evaluation.stages[0].sup_norm_out_of_fold > 0
