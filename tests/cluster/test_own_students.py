"""Students of the user's own file, on Ray's workers and players and in later commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray
from tiny import bdistil, write_spec

from bdistil.errors import CheckpointError
from bdistil.export.ensemble import Ensemble
from bdistil.runs.run_directory import RunDirectory

STUDENT = '''
from torch import nn

from bdistil.zoo import register_student


@register_student("line", domains=("tabular",), lr=0.02, growth=1.25)
def line(input_shape, width):
    """Linear features."""
    body = nn.Linear(input_shape[0], width)
    body.features = width
    return body
'''


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_workers_players_and_later_commands_know_the_students_of_a_file(tmp_path: Path) -> None:
    file, out = tmp_path / "my_students.py", tmp_path / "run"
    file.write_text(STUDENT)
    spec = write_spec(tmp_path, "space.student=line", "search.rounds=2", "modules=[my_students.py]")
    here = ("--address", ray.get_runtime_context().gcs_address)
    searched = bdistil("search", spec, "--out", out, *here, cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr + searched.stdout
    assert [r.student.kind for r in RunDirectory(out).journal.read()] == ["line", "line"]
    assert RunDirectory(out).spec().modules == [str(file)]  # found from any folder
    assert str(tmp_path) not in (out / "ensemble" / "config.json").read_text()

    (out / "evaluation.json").unlink()
    assert bdistil("status", out).returncode == 0

    with pytest.raises(CheckpointError, match=r"config\.json has a student of class 'line', which"):
        Ensemble.from_pretrained(out)
    np.save(tmp_path / "x.npy", np.zeros((2, 16), np.float32))
    unknown = bdistil("predict", out, tmp_path / "x.npy")
    assert unknown.returncode == 2
    assert "--module" in unknown.stderr + unknown.stdout
    known = bdistil("predict", out, tmp_path / "x.npy", "--module", file)
    assert known.returncode == 0, known.stderr
    assert len(known.stdout.splitlines()) == 3
