"""What running an ensemble costs beside its students alone, by torch on one thread.

Three ensembles of six growing students: MLPs on 64 features, GRUs on 29 x 12 sequences, CNNs on
28 x 28 images; one example and 64 at once. Printed: all stages streamed over the sum of the
students run bare (target: at most 1.15), microseconds that a stage adds, and the folded prefix of a
dense ensemble over that of one without connections (target: at most 1.05). All sides are timed in
turns; medians. Needs a machine that does nothing else: with other work on the cores the figures
differ by more than what they show.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import torch

from bdistil.core.cost import timed_in_turns
from bdistil.core.student import StudentConfig
from bdistil.export.checkpoint import build_student
from bdistil.export.config import EnsembleConfig
from bdistil.export.ensemble import Ensemble
from bdistil.report.bench import overhead

ENSEMBLES = {
    "mlp": ((64,), (16, 20, 24, 32, 40, 48)),
    "gru": ((29, 12), (8, 10, 12, 16, 20, 24)),
    "cnn": ((1, 28, 28), (4, 5, 6, 8, 10, 12)),
}
OUTPUTS, BATCHES, SECONDS = 10, (1, 64), 4.0


def build(kind: str, connection: str) -> Ensemble:
    """An ensemble with random weights; students of one kind have the same bodies."""
    shape, widths = ENSEMBLES[kind]
    students, sizes = [], []
    for stage, width in enumerate(widths):
        torch.manual_seed(stage)
        config = StudentConfig(kind, width, connection, skip=True)
        student = build_student(config, shape, OUTPUTS, sizes)
        torch.nn.init.normal_(student.head.weight, std=0.1)
        students.append(student)
        sizes.append(student.features)
    config = EnsembleConfig(
        name=kind,
        domain="tabular",
        task="classification",
        input_shape=shape,
        outputs=OUTPUTS,
        students=tuple(student.config for student in students),
    )
    ones = torch.ones(())
    return Ensemble(config, students, torch.zeros(()), ones)


@torch.inference_mode()
def folded_ratio(kind: str, batch: int) -> float:
    """Seconds of the dense ensemble's folded prefix over that without connections."""
    x = torch.randn(batch, *ENSEMBLES[kind][0])
    dense, none = build(kind, "dense"), build(kind, "none")
    rows = timed_in_turns(
        [lambda: dense(x), lambda: none(x)], repeats=50, warmup=10, seconds=SECONDS / 2
    )
    first, second = np.median(np.array(rows), axis=0)
    return float(first / second)


def main() -> None:
    """Print the table and, last, one JSON line."""
    torch.set_num_threads(1)
    found = {}
    print("students  batch  stages/bare  us a stage  dense/none folded")
    for kind, batch in itertools.product(ENSEMBLES, BATCHES):
        examples = np.random.default_rng(0).normal(size=(batch, *ENSEMBLES[kind][0]))
        streamed = overhead(build(kind, "dense"), examples, SECONDS)
        folded = folded_ratio(kind, batch)
        print(
            f"{kind:8}  {batch:5}  {streamed.ratio:11.3f}  {1e6 * streamed.dispatch:10.1f}"
            f"  {folded:17.3f}"
        )
        found[f"{kind}-{batch}"] = {"streamed": streamed.ratio, "folded": folded}
    worst = max(each["streamed"] for each in found.values())
    folded = max(each["folded"] for each in found.values())
    print(json.dumps({"ratio": worst, "folded_ratio": folded, "by_ensemble": found}))


if __name__ == "__main__":
    main()
