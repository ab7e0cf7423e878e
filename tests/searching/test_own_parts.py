"""Parts of the user's own, one file each, from the command line to the saved ensemble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny import bdistil, write_spec

from bdistil.runs.run_directory import RunDirectory

CONNECTION = '''
from bdistil.core.connections import Connection, Hidden, register_connection


@register_connection("mean")
class Mean(Connection):
    """Own features, and the mean of what earlier students of the same width leave."""

    def forward(self, own, earlier):
        fitting = [hidden.features for hidden in earlier if hidden.features.shape == own.shape]
        return Hidden(own + sum(fitting) / max(1, len(fitting)))
'''

TEACHER = '''
import numpy as np

from bdistil.teachers.select import register_teacher_source
from bdistil.teachers.source import Teacher


class Corners:
    """Answers a cube's corner with certainty: nothing is trained and nothing is counted."""

    kind, can_refit = "corners", False

    def __init__(self, dataset):
        self.dataset = dataset

    def check(self):
        pass

    def known_flops(self):
        return 7

    def obtain(self, rows=None, progress=None):
        def logits(split, answered):
            return np.eye(self.dataset.outputs, dtype=np.float32)[split.y] * 4 - 1

        return Teacher(logits, flops=7)


@register_teacher_source
def open_corners(dataset, spec):
    return Corners(dataset) if spec.teacher.model == "corners:exact" else None
'''

DATASET = '''
import numpy as np

from bdistil.data.assemble import assemble
from bdistil.data.split import split_indices
from bdistil.datasets.catalogue import register_dataset


@register_dataset(
    "stripes", domain="tabular", input_shape=(4,), classes=3, examples=300, source="made here"
)
def stripes(seed, validation, test):
    """The class is the tercile of the first column."""
    x = np.random.default_rng(seed).random((300, 4), dtype=np.float32)
    y = (x[:, 0] * 3).astype(np.int64)
    names = ("low", "middle", "high")
    rows = split_indices(y, names, validation=validation, test=test, seed=seed)
    return assemble("stripes", "tabular", x, y, rows, class_names=names)
'''


def test_a_connection_a_kind_of_teacher_and_a_data_set_each_come_in_a_file(tmp_path: Path) -> None:
    parts = {"connection.py": CONNECTION, "teacher.py": TEACHER, "dataset.py": DATASET}
    for name, text in parts.items():
        (tmp_path / name).write_text(text)
    spec = write_spec(
        tmp_path, "workers.count=0", f"modules=[{', '.join(parts)}]", "search.rounds=2",
        "data={name: stripes}", "teacher={model: 'corners:exact'}", "space.connection=mean",
    )  # fmt: skip
    out = tmp_path / "run"
    searched = bdistil("search", spec, "--out", out, cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr + searched.stdout
    run = RunDirectory(out)
    assert [record.student.connection for record in run.journal.read()] == ["mean", "mean"]
    card = run.teacher.card()
    assert (card.source, card.flops) == ("corners", 7)
    np.save(tmp_path / "x.npy", np.random.default_rng(1).random((50, 4), dtype=np.float32))
    module = ("--module", tmp_path / "connection.py")
    answered = bdistil("predict", out, tmp_path / "x.npy", *module)
    assert answered.returncode == 0, answered.stderr
    assert len(answered.stdout.splitlines()) == 51
