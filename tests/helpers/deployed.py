"""Small ensembles as a run leaves them: with figures and calibration, saved in a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_ensembles import inputs, small_ensemble

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.export.calibration import calibrate
from bdistil.export.ensemble import Ensemble
from bdistil.export.evaluation import evaluate
from bdistil.runtime.hashes import CONFIG_HASH


@torch.no_grad()
def deploy(folder: Path, *students: tuple[str, int, Any, bool], **changes: Any) -> Ensemble:
    """Save an ensemble with random weights, whose last stage is taken for the truth."""
    torch.manual_seed(0)
    bare = small_ensemble(*students, **changes)
    x = inputs(students[0][0], 200)
    stages = list(bare.stages(x))
    task = bare.config.task
    truths = {"classification": stages[-1].argmax(dim=1), "multilabel": (stages[-1] > 0).float()}
    truth = truths.get(task, stages[-1])
    plain = ProgressiveEnsemble(bare.outputs, bare)
    figures = evaluate(plain, bare.standardise(x), truth, stages[-1], None, task)
    costs = [stage.streamed_flops for stage in figures.stages]
    calibration = calibrate([stage.numpy() for stage in stages], truth.numpy(), costs, task)
    config = replace(bare.config, figures=figures, calibration=calibration)
    ensemble = Ensemble(config, list(bare), bare.shift, bare.scale)
    ensemble.save_pretrained(folder)
    return ensemble


def config_to_change(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says, without the hash that would tell of a change."""
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    del content[CONFIG_HASH]
    return content


def examples(kind: str, count: int = 9, seed: int = 1) -> np.ndarray:
    torch.manual_seed(seed)
    return inputs(kind, count).numpy()
