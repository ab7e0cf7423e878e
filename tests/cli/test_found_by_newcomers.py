"""What somebody who had never seen the program made it do wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from deployed import config_to_change, deploy, examples
from tiny import command, tiny

import bdistil as package
from bdistil import Predictor
from bdistil.cli.failures import explain_machine
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilError, CheckpointError, ClusterError, DataError, SpecError
from bdistil.runs.run_directory import RunDirectory
from bdistil.runtime.columns import FeatureColumn
from bdistil.runtime.tables import as_table
from bdistil.searching.local import LocalBackend
from bdistil.searching.progress import Silent
from bdistil.searching.run import run_search
from bdistil.spec import DataSpec
from bdistil.store.durable import disk_errors
from bdistil.teachers.yardsticks import warn_if_worse_than_guessing

Command = Callable[..., Any]
QUICK = (
    *("workers.count=0", "search.rounds=1", "search.tries_per_class=1", "space.epochs=1"),
    *("teacher.epochs=1", "space.ladder=[2]"),
)


def table(rows: int = 60, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 2)) + shift, columns=["a", "b"])
    return frame.assign(y=np.where(frame.a > shift, "yes", "no"))


@pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
def test_a_resume_that_is_refused_changes_nothing(bdistil: Command, tmp_path: Path) -> None:
    table().to_csv(tmp_path / "mine.csv", index=False)
    table(shift=1.0).to_csv(tmp_path / "other.csv", index=False)
    run = tmp_path / "run"
    search = ("search", "--data", tmp_path / "mine.csv", "--label", "y", "--out", run, *QUICK)
    assert bdistil(*search).status == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    answer = bdistil("resume", run, f"data.path={tmp_path / 'other.csv'}")
    assert answer.status == 2
    assert "has changed since the teacher" in answer.errors
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert bdistil("resume", run).status == 0


def test_predictions_do_not_replace_their_data(
    bdistil: Command, finished_run: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 16), np.float32))
    before = (tmp_path / "x.npy").read_bytes()
    answer = bdistil("predict", finished_run, tmp_path / "x.npy", "--out", tmp_path / "x.npy")
    assert answer.status == 2
    assert "the data themselves; name another file" in answer.errors
    assert (tmp_path / "x.npy").read_bytes() == before


def test_an_export_that_was_killed_leaves_nothing_behind_the_next_one(
    bdistil: Command, finished_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    out = tmp_path / "out"
    killed = (
        "import os, signal, bdistil.export.ensemble as e; from bdistil.cli.app import main;"
        "e.model_card = lambda *_: os.kill(os.getpid(), signal.SIGKILL); main()"
    )
    arguments = ["export", str(run), "--out", str(out)]
    subprocess.run([sys.executable, "-c", killed, *arguments], check=False)
    assert list(out.glob(".export.*"))
    assert bdistil(*arguments).status == 0
    assert not list(out.glob(".*"))


def test_a_closed_or_full_output_is_no_traceback(finished_run: Path) -> None:
    for target in (">&-", "> /dev/full"):
        call = " ".join(command("status", finished_run))
        done = subprocess.run(
            f"{call} {target}", shell=True, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, target
        assert done.returncode in (0, 1, 2), target


@pytest.mark.parametrize(
    "options", ["{widths: [9223372036854775807]}", "{widths: [8, 4611686018427387904]}"]
)
def test_a_teacher_that_no_machine_holds(bdistil: Command, tmp_path: Path, options: str) -> None:
    table().to_csv(tmp_path / "t.csv", index=False)
    search = ("search", "--data", tmp_path / "t.csv", "--label", "y", *QUICK)
    answer = bdistil(*search, f"teacher.options={options}")
    assert answer.status == 2
    assert "teacher.options" in answer.errors


def nested(path: Path) -> Path:
    frame = table()
    content = pa.Table.from_pandas(frame)
    lists = pa.array([[row, row + 1] for row in range(len(frame))])
    pq.write_table(content.append_column("n", lists), path)
    return path


@pytest.mark.filterwarnings("ignore::bdistil.errors.BdistilWarning")
def test_lists_in_cells(bdistil: Command, tmp_path: Path) -> None:
    path, run = nested(tmp_path / "t.parquet"), tmp_path / "run"
    search = ("search", "--data", path, "--label", "y", "--out", run, *QUICK)
    for key in ("group", "order", "split", "label"):
        answer = bdistil(*search, f"data.{key}=n")
        assert answer.status == 2
        assert f"data.{key} names column 'n', which holds lists or structures" in answer.errors
    answer = bdistil(*search)
    assert answer.status == 2
    assert "data.layout=vector or data.layout=sequence" in answer.errors
    answer = bdistil(*search, "data.ignore=[n]")
    assert answer.status == 0, answer.errors
    answer = bdistil("predict", run, path, "--keep", "n")
    assert answer.status == 0, answer.errors


DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no features": lambda c: c | {"columns": {"features": [], "label": "y"}},
    "no label": lambda c: c | {"columns": {"features": [{"name": "a"}], "label": []}},
    "gaps without fill": lambda c: (
        c | {"columns": {"features": [{"name": "a", "missing": 1}], "label": "y"}}
    ),
    "a thousand million outputs": lambda c: c | {"outputs": 10**9, "class_names": None},
    "more outputs than weights": lambda c: c | {"outputs": 10**6, "class_names": None},
    "an endless example": lambda c: c | {"input_shape": [10**15]},
    "an emptied hash": lambda c: c | {"weights_hash": ""},
    "a switch for a temperature": lambda c: c | {"calibration": {"temperatures": [True, True]}},
    "no teacher_temperature": lambda c: (
        c | {"calibration": c["calibration"] | {"teacher_temperature": float("nan")}}
    ),
    "negative FLOPs": lambda c: (
        c
        | {
            "figures": c["figures"]
            | {"stages": [s | {"streamed_flops": -5} for s in c["figures"]["stages"]]}
        }
    ),
    "two of one name": lambda c: c | {"class_names": ["no", "no", "yes"]},
    "figures that are no numbers": lambda c: (
        c
        | {
            "calibration": c["calibration"]
            | {"exits": [each | {"metric": float("nan")} for each in c["calibration"]["exits"]]}
        }
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_configs_that_cannot_be_right(tmp_path: Path, damage: str) -> None:
    deploy(tmp_path, ("mlp", 3, "dense", True), ("mlp", 2, "none", True))
    content = config_to_change(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(DAMAGES[damage](content)))
    for load in (Predictor, package.Ensemble.from_pretrained):
        with pytest.raises(CheckpointError, match=r"config\.json( is damaged|: it holds 61)"):
            load(tmp_path)


@pytest.mark.parametrize("kind", ["deep", "pipe", "file above"])
def test_configs_that_are_none(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if kind == "deep":
        (folder / "config.json").write_text("[" * 100_000)
    elif kind == "pipe":
        os.mkfifo(folder / "config.json")
    else:
        (tmp_path / "afile").touch()
        folder = tmp_path / "afile"
    with pytest.raises(CheckpointError):
        Predictor(folder)


def test_a_search_space_that_is_a_pipe(bdistil: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "space.yaml")
    answer = bdistil("search", tmp_path / "space.yaml")
    assert answer.status == 2
    assert "is no file; give a YAML file" in answer.errors


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("model")
    deploy(folder, ("mlp", 3, "dense", True), ("mlp", 2, "none", True))
    return Predictor(folder, backend="torch")


def test_answers_are_numbers_or_none(predictor: Predictor) -> None:
    x = examples("mlp")
    x[3] = 3.4e38
    with pytest.raises(DataError, match=r"example 3 .* is too large to be answered"):
        predictor.predict_proba(x)
    for way in ({"exit": "confidence"}, {"deadline": 10}):
        with pytest.raises(DataError, match="is too large to be answered"):
            predictor.predict(x, **way)


def test_a_form_without_a_shape_is_damaged() -> None:
    from bdistil.data.new_media import medium_of

    with pytest.raises(DataError, match=r"form is damaged \(shape: Field required"):
        medium_of({"medium": "photograph"})


def test_numbers_that_are_none(predictor: Predictor) -> None:
    x = examples("mlp")
    for budget in (float("nan"), "nan", "nan%", float("inf")):
        with pytest.raises(SpecError, match="cannot be read"):
            predictor.predict_batch(x, budget)
    with pytest.raises(SpecError, match="give an accuracy such as"):
        predictor.policy(at_least=float("nan"))
    with pytest.raises(SpecError, match="exit score 'nope' is unknown; choose confidence"):
        predictor.predict(x, exit="nope")
    np.testing.assert_array_equal(
        predictor.predict(x, stages=np.int64(1)), predictor.predict(x, stages=1)
    )
    assert len(predictor.predict(x, deadline="9999999999s")) == len(x)


def test_missing_values_of_pandas_in_rows() -> None:
    from bdistil.runtime.values import missing_values

    assert missing_values(np.array([pd.NA, 1, None, "a"], object)).tolist() == [1, 0, 1, 0]


def test_an_interrupt_before_the_first_round_promises_nothing(tmp_path: Path) -> None:
    from bdistil.cli.search_command import stopped
    from bdistil.runs.run_directory import RunDirectory

    out = str(tmp_path / "run")
    assert stopped(out) == "Stopped before anything was written; run the same command again."
    RunDirectory(out).create(tiny("workers.count=0"))
    assert stopped(out).startswith("Stopped before a round was accepted. Go on with: bdistil")


@pytest.mark.parametrize(
    "name", ["rounds.jsonl", "students/001.safetensors", "teacher/config.json", "data.json"]
)
def test_a_pipe_in_a_run_is_not_waited_for(bdistil: Command, run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    answer = bdistil("status" if name == "data.json" else "resume", run)
    assert (answer.status, name in answer.errors) == (2, True), answer.errors


def test_a_pipe_among_files_is_not_waited_for(bdistil: Command, tmp_path: Path) -> None:
    for name in ("photographs/a/one.png", "photographs/b/two.png", "parts/one.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        os.mkfifo(tmp_path / name)
    for folder, sentence in (("photographs", "a pipe or a device, no file"), ("parts", "one.csv")):
        answer = bdistil("search", "--data", tmp_path / folder, "--label", "label")
        assert (answer.status, sentence in answer.errors) == (2, True), answer.errors


def test_a_run_that_is_deleted_while_it_is_searched(tmp_path: Path) -> None:
    run = tmp_path / "run"

    class Deleting(Silent):
        def __init__(self, moment: str) -> None:
            self.moment = moment

        def teacher(self, *_: Any) -> None:
            self.strike("teacher")

        def round_accepted(self, _: Any) -> None:
            self.strike("round")

        def strike(self, moment: str) -> None:
            if moment == self.moment:
                shutil.rmtree(run, ignore_errors=True)

    for moment in ("teacher", "round"):
        with pytest.raises(CheckpointError, match="was deleted or replaced while the search ran"):
            run_search(tiny("workers.count=0"), run, LocalBackend(), reporter=Deleting(moment))
        assert not run.exists()


def test_a_run_that_is_deleted_in_the_moment_of_a_write_stays_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder goes between the look whether it is there and the write."""
    run, look, moment, looks = tmp_path / "run", RunDirectory.check_there, 0, 0

    def look_and_strike(directory: RunDirectory) -> None:
        nonlocal looks
        look(directory)
        looks += 1
        if looks == moment:
            shutil.rmtree(run)

    monkeypatch.setattr(RunDirectory, "check_there", look_and_strike)
    spec = tiny("workers.count=0", "search.rounds=1", "teacher.epochs=1", "space.epochs=1")
    run_search(spec, run, LocalBackend())
    shutil.rmtree(run)
    moments, looks = looks, 0
    assert moments > 8
    for moment in range(1, moments):  # after the last one it is complete
        looks = 0
        with pytest.raises(CheckpointError, match="was deleted or replaced while the search ran"):
            run_search(spec, run, LocalBackend())
        assert not run.exists(), moment


def test_space_is_only_asked_for_where_there_is_none(tmp_path: Path) -> None:
    for code, asked in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, False)):
        with pytest.raises(CheckpointError) as caught, disk_errors(tmp_path):
            raise OSError(code, os.strerror(code))
        assert ("free space" in str(caught.value)) == asked
        assert ("free space" in explain_machine(OSError(code, os.strerror(code)))) == asked


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (1e9 + np.arange(60), "spread by 17.3, with which float32 cannot compute"),
        (1e37 * np.linspace(-1, 1, 60), "numbers up to 1e+37 in size"),
        (
            np.append(np.arange(59), 1e10),
            "float32 cannot tell most others apart (90% lie from 2.95",
        ),
        (np.full(60, 0.5), "holds only one value, 0.5"),
    ],
)
def test_targets_that_float32_cannot_tell_apart(
    bdistil: Command, tmp_path: Path, y: Any, sentence: str
) -> None:
    table().assign(y=y + 0.0).to_csv(tmp_path / "t.csv", index=False)
    answer = bdistil(
        "search", "--data", tmp_path / "t.csv", "--label", "y", *QUICK, "data.task=regression"
    )
    assert (answer.status, sentence in answer.errors) == (2, True), answer.errors


def test_arguments_that_are_empty_or_no_text(bdistil: Command) -> None:
    for arguments in (
        ("search", "--data", "", "--label", "y"),
        ("predict", "model", ""),
        ("--data=",),
    ):
        answer = bdistil(*arguments)
        assert (answer.status, "an argument is empty" in answer.errors) == (2, True)
    answer = bdistil("search", "--data", "x.csv", "--out", "run\udcff")
    assert (answer.status, "is no text in UTF-8" in answer.errors) == (2, True)


@pytest.mark.parametrize("limit", ["x", "-1", "nan", "0", "inf"])
def test_limits_that_are_none(bdistil: Command, finished_run: Path, limit: str) -> None:
    names = ("latency", "flops") if limit != "inf" else ("flops",)
    for option in (f"--max-{name}" for name in names):
        answer = bdistil("pareto", finished_run, f"{option}={limit}")
        assert answer.status == 2
        assert f"{option}" in answer.errors, answer.errors
    if limit == "nan":
        answer = bdistil("pareto", finished_run, "--min-accuracy=nan")
        assert (answer.status, "--min-accuracy is nan" in answer.errors) == (2, True)


def test_masked_sparse_and_untracked_examples(predictor: Predictor) -> None:
    x = examples("mlp")
    masked = np.ma.masked_array(x, mask=np.eye(*x.shape) > 0)
    sparse, tensor = scipy.sparse.csr_matrix(x), torch.tensor(x, requires_grad=True)
    for question, sentence in (
        (masked, "x has 5 missing values, the first in row 0"),
        (list(masked), "x has 5 missing values, the first in row 0"),
        (sparse, "x is a sparse csr_matrix; give its toarray"),
        (tensor, "x is a Tensor that numpy cannot read"),
        ([[10**400] * 5], "which is no number"),
    ):
        with pytest.raises(DataError, match=sentence):
            predictor.predict(question)
    whole = predictor.predict(np.ma.masked_array(x))
    np.testing.assert_array_equal(whole, predictor.predict(x))


def test_a_masked_value_of_a_column_is_missing() -> None:
    column = FeatureColumn("a", missing=1, fill=(0.5,))
    found = column.encode(np.ma.masked_array([1.0, 2.0], [True, False]))
    np.testing.assert_array_equal(found, [[0.5, 1], [2, 0]])


def test_an_arrow_table_with_two_columns_of_one_name() -> None:
    with pytest.raises(DataError, match="two columns named 'a'"):
        as_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))


def test_arguments_of_other_kinds(predictor: Predictor, tmp_path: Path) -> None:
    ensemble = deploy(tmp_path, ("mlp", 3, "dense", True))
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: Predictor(None), "None names none"),
        (lambda: Predictor(""), "'' names none"),
        (lambda: Predictor(tmp_path, threads="x"), "threads is 'x'; give a whole number"),
        (lambda: Predictor(tmp_path, backend=[]), "backend .* is unknown"),
        (lambda: predictor.policy(at_least="x"), "at_least is x; give an accuracy"),
        (lambda: predictor.policy(at_least=10**400), "at_least is 1000"),
        (lambda: predictor.warm_up(-1), "examples is -1; give a whole number"),
        (lambda: predictor.predict_batch(examples("mlp"), 10**5000), "bits' cannot be read"),
        (lambda: predictor.predict(examples("mlp"), deadline=10**5000), "bits is no duration"),
        (lambda: predictor.predict(examples("mlp"), stages=10**5000), "stages is a number of"),
        (lambda: ensemble.stack([]), "stages is empty"),
        (lambda: ensemble.stack(1.5), "stages is 1.5"),
        (lambda: ensemble.stack(1, "odd"), "way is 'odd'"),
    ]
    for ask, sentence in wrong:
        with pytest.raises(BdistilError, match=sentence):
            ask()


def test_a_poor_teacher_of_targets_is_compared_with_the_mean() -> None:
    data = load_dataset(DataSpec(name="diabetes"), seed=0)
    poor = {"validation": np.full_like(data.validation.y, 5)}
    with pytest.warns(UserWarning, match=r"of always giving the mean; check teacher\.lr"):
        warn_if_worse_than_guessing("trained", data, poor)


def test_sockets_of_ray_whose_path_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from bdistil.cluster import connect

    def fail(**_: Any) -> None:
        raise OSError("AF_UNIX path length cannot exceed 107 bytes: /long")

    monkeypatch.setattr(connect.ray, "init", fail)
    with pytest.raises(ClusterError, match="set TMPDIR or RAY_TMPDIR to a shorter one"):
        connect.connect(None, verbose=False)
