"""An ensemble as one C99 header, for microcontrollers without an operating system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.errors import CheckpointError
from bdistil.export.c_code.compiled import HEADER_FILE, CompiledEnsemble, find_compiler
from bdistil.export.c_code.header import header
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import LARGEST_DIFFERENCE, difference_of
from bdistil.runtime.hashes import HASHES_FILE, describe_files
from bdistil.store.durable import replacing_files, write_atomic
from bdistil.store.scratch import ScratchFolder

C_FOLDER = "c"  # in the folder of a saved ensemble


def export_c(ensemble: Ensemble, directory: Path, examples: NDArray[np.float32]) -> float | None:
    """Write ``ensemble.h``, compile it with the system's compiler and check it on real examples.

    Args:
        ensemble: on the CPU.
        directory: for the file; one that is there already works until it is replaced.
        examples: raw, float32 (N, ...), at least one.

    Returns:
        The largest difference between its and torch's logits at any stage, over the row's largest
        where that is above 1; None if there is no compiler to check it with.

    Raises:
        SpecError: if a student does what has no counterpart in C.
        CheckpointError: if the disk is full, it does not compile, or the difference is above
            :data:`~bdistil.export.graphs.LARGEST_DIFFERENCE`; `directory` then is as it was.
    """
    content = header(ensemble, examples[:1])
    with replacing_files(directory, HASHES_FILE) as aside:
        write_atomic(aside / HEADER_FILE, content.encode())
        difference = _checked(ensemble, aside / HEADER_FILE, examples)
        write_atomic(aside / HASHES_FILE, describe_files(aside, ensemble.weights_hash()))
    return difference


@torch.no_grad()
def _checked(ensemble: Ensemble, path: Path, examples: NDArray[np.float32]) -> float | None:
    compiler = find_compiler()
    if compiler is None:
        return None
    with ScratchFolder("c") as folder:
        found = CompiledEnsemble(path, folder, compiler).every_stage(examples)
    expected = torch.stack(list(ensemble.stages(torch.as_tensor(examples))), dim=1)
    difference = difference_of(found, expected)
    if not difference <= LARGEST_DIFFERENCE:
        raise CheckpointError(
            f"{path}: the C code differs from the ensemble by {difference:.2g}, more than "
            f"{LARGEST_DIFFERENCE:g}; please report this with the ensemble's config.json."
        )
    return difference
