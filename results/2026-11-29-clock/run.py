# ruff: noqa: D103
"""Accuracy and time of five teachers, of the shortest command's stages and of their rivals.

    python run.py play --data DATA --work WORK     searches and rivals; skips what WORK holds
    python run.py time --work WORK                 on a quiet machine: answers and seconds
    python run.py tell --work WORK                 models.csv, and the tables of the README

DATA holds what the README names. Needs skl2onnx beside bdistil[search,onnx].
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from models import Model, keep_models, kept_models, probabilities_of, write_estimator
from rivals import ROOT, fitted_teacher, int8_of, resnet20, single_student, table_rivals
from sets import PHOTOGRAPHS, SETS, TeacherSet, make_digits, make_photographs
from tables import tell
from timing import seconds_of

BATCHES = (1, 64)


def call(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "bdistil", *map(str, words)], check=True)


def search_command(each: TeacherSet, seed: int, args: argparse.Namespace) -> list[str]:
    if each.file == PHOTOGRAPHS:
        spec = ROOT / "search_spaces" / "cifar10_resnet56.yaml"
        weights = args.data / "cifar10_resnet56.safetensors"
        model = ROOT / "examples" / "cifar_resnet.py"
        words = [f"data.path={args.data / PHOTOGRAPHS}", f"teacher.weights={weights}"]
        return ["search", str(spec), *words, f"teacher.model={model}:resnet56", f"seed={seed}"]
    folder = args.work if each.name == "digits" else args.data
    words = ["search", "--data", str(folder / each.file), *each.words]
    return [*words, f"seed={seed}", "workers.count=0"]


def data_of(run: Path) -> tuple[Any, Any]:
    """The run's spec and its data, raw."""
    from bdistil.datasets.catalogue import load_dataset
    from bdistil.runs.run_directory import RunDirectory

    spec = RunDirectory.existing(run).spec()
    return spec, load_dataset(spec.data, spec.seed, spec.teacher.columns)


def play(args: argparse.Namespace) -> None:
    for seed in range(args.seeds):
        for name in args.sets:
            folder = args.work / f"{name}-{seed}"
            if not (folder / "models.json").exists():
                play_one(SETS[name], seed, folder, args)


def play_one(each: TeacherSet, seed: int, folder: Path, args: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = search_command(each, seed, args)
    if not (folder / "run" / "evaluation.json").exists():
        call(*command, "--out", folder / "run")
    spec, dataset = data_of(folder / "run")
    estimator = str(spec.teacher.model).startswith("sklearn.")
    teacher = [] if estimator else ["--with-teacher"]
    call("export", folder / "run", "--onnx", "--out", folder / "export", *teacher)
    models = [*our_stages(folder)]
    if estimator:
        fitted = fitted_teacher(dataset, spec)
        graph = write_estimator(fitted, dataset.test.x, folder / "teacher.onnx")
        models.append(Model("teacher", "teacher", graph.file, graph.output, True))
    else:
        shutil.copy(folder / "export" / "teacher" / "teacher.onnx", folder)
        models.append(Model("teacher", "teacher", "teacher.onnx"))
        rows = dataset.validation.x
        models.append(int8_of(models[-1], rows, folder, "teacher in 8 bits"))
    if each.is_table:
        models += table_rivals(dataset, folder)
    if each.file == PHOTOGRAPHS:  # a single student of that cost trains for hours
        models.append(resnet20(args.data, dataset.test.x, folder))
    else:
        models.append(single(each, command, dataset, folder))
    keep_models(models, folder)


def our_stages(folder: Path) -> list[Model]:
    evaluation = json.loads((folder / "run" / "evaluation.json").read_text())
    return [
        Model(f"stage {stage['stage']}", "ours", f"export/onnx/prefix_{stage['stage']}.onnx")
        for stage in evaluation["stages"]
    ]


def single(each: TeacherSet, command: list[str], dataset: Any, folder: Path) -> Model:
    last = json.loads((folder / "run" / "evaluation.json").read_text())["stages"][-1]
    run = single_student(command, each.kind, last["flops"], dataset, folder)
    call("export", run, "--onnx", "--out", folder / "single-export")
    return Model("single student", "rival", "single-export/onnx/prefix_1.onnx")


def time(args: argparse.Namespace) -> None:
    """Answers on validation and test, and seconds, into one file a folder."""
    for folder in sorted(args.work.glob("*/models.json")):
        folder = folder.parent
        _, dataset = data_of(folder / "run")
        models = kept_models(folder)
        answers = {
            f"{split}/{model.name}": probabilities_of(model, folder, getattr(dataset, split).x)
            for model in models
            for split in ("validation", "test")
        }
        truth = {"truth/validation": dataset.validation.y, "truth/test": dataset.test.y}
        np.savez_compressed(folder / "answers.npz", **answers, **truth)
        seconds = {
            str(batch): seconds_of(models, folder, dataset.test.x, batch) for batch in BATCHES
        }
        (folder / "seconds.json").write_text(json.dumps(seconds, indent=1))
        print(folder.name, {name: f"{1e6 * s:.1f}" for name, s in seconds["1"].items()}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "time", "tell"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    args = parser.parse_args()
    args.work, args.data = args.work.resolve(), args.data.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.what == "play":
        make_digits(args.work)
        if "cifar10" in args.sets and not (args.data / PHOTOGRAPHS).exists():
            make_photographs(args.data)
    {"play": play, "time": time, "tell": lambda args: tell(args.work)}[args.what](args)


if __name__ == "__main__":
    main()
