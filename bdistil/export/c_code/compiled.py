"""The header compiled by the system's compiler, to see that it answers as torch does."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import CheckpointError

HEADER_FILE = "ensemble.h"
LIBRARY = "ensemble.so"
FLAGS = ("-std=c99", "-O2")
SOURCE = f"""\
#include "{HEADER_FILE}"

long ensemble_outputs(void) {{ return ENSEMBLE_OUTPUTS; }}

long ensemble_stages(void) {{ return ENSEMBLE_STAGES; }}

void ensemble_run(const float *x, long rows, long stages, float *logits) {{
    static ensemble_state state;
    for (long row = 0; row < rows; row++) {{
        ensemble_begin(&state);
        for (long stage = 0; stage < stages; stage++) {{
            ensemble_steps[stage](x + row * ENSEMBLE_INPUTS, &state);
            for (long i = 0; i < ENSEMBLE_OUTPUTS; i++) *logits++ = state.logits[i];
        }}
    }}
}}
"""


def find_compiler() -> str | None:
    """The system's C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class CompiledEnsemble:
    """A header as a library in this process, for checks and timings.

    Args:
        header: the file.
        folder: for the library.
        compiler: see :func:`find_compiler`.
        flags: of the compiler.

    Raises:
        CheckpointError: if it cannot be compiled.
    """

    def __init__(
        self, header: Path, folder: Path, compiler: str, flags: Sequence[str] = FLAGS
    ) -> None:
        source, library = folder / "ensemble.c", folder / LIBRARY
        source.write_text(SOURCE)
        command = [compiler, *flags, "-shared", "-fPIC", f"-I{header.parent}", str(source)]
        done = subprocess.run(
            [*command, "-o", str(library), "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            first = next(
                (line for line in done.stderr.splitlines() if "error" in line), "no reason"
            )
            raise CheckpointError(
                f"{header}: {compiler} cannot compile it ({first.strip()[:200]}); please report "
                "this with the ensemble's config.json."
            )
        self._library = ctypes.CDLL(str(library))
        self.outputs, self.stages = (
            self._library.ensemble_outputs(),
            self._library.ensemble_stages(),
        )

    def every_stage(self, x: NDArray[np.float32], stages: int | None = None) -> NDArray[np.float32]:
        """F_1, F_2, ..., float32 (B, stages, L), for raw examples (B, ...)."""
        x = np.ascontiguousarray(x, np.float32)
        count = self.stages if stages is None else stages
        logits = np.empty((len(x), count, self.outputs), np.float32)
        rows, wanted = ctypes.c_long(len(x)), ctypes.c_long(count)
        self._library.ensemble_run(_pointer(x), rows, wanted, _pointer(logits))
        return logits


def _pointer(array: NDArray[np.float32]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
