"""A run on its way to a worker, which works in another folder and has what its task takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bdistil.experiments.design import Run
from bdistil.spec import Spec, WorkerSpec
from bdistil.spec.user_modules import UserModule
from bdistil.store.remote import is_uri


def shipped(run: Run, workers: WorkerSpec) -> Run:
    """The run with paths that hold in any working directory, and the CPUs and GPUs of its task.

    Neither changes what the run is, nor where it and its teacher are kept.

    Raises:
        SpecError: if a file of `modules` cannot be read.
    """
    share = {"cpus": workers.cpus, "gpus": workers.gpus}
    spec = with_absolute_paths(run.spec)
    spec = spec.model_copy(update={"workers": spec.workers.model_copy(update=share)})
    return replace(run, spec=spec)


def with_absolute_paths(spec: Spec) -> Spec:
    """The spec with each path of data, teacher, modules and earlier runs as seen from here."""
    starts = [
        each if is_uri(each) else str(Path(each).resolve()) for each in spec.search.warm_start
    ]
    changes: dict[str, Any] = {
        "data": spec.data.absolute(),
        "teacher": spec.teacher.absolute(),
        "modules": [UserModule.of(name).name for name in spec.modules],
        "search": spec.search.model_copy(update={"warm_start": starts}),
    }
    return spec.model_copy(update=changes)
