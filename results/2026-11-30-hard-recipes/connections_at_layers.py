# ruff: noqa: D102, D103
"""Is it worth more to read what intermediate layers of earlier students give? A prototype.

    python connections_at_layers.py RUN SEED

RUN is any search of run.py's WORK/recipes/runs: its data, teacher's answers and copies are used.
Students are those of `convnet`, trained one after another, the earlier ones frozen, for 15 epochs
at a peak rate of .015; widths are such that all ways cost what the single students cost, within 4%.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdistil.core.losses import fitting_loss
from bdistil.core.training_split import TrainingSplit
from bdistil.data.standardise import standardised
from bdistil.searching.problem import build_problem, training_shards
from bdistil.searching.resolve import game_rules
from bdistil.searching.result import SearchResult
from bdistil.searching.views import view_makers
from bdistil.teachers.obtain import game_logits

EPOCHS, RATE, BATCH, TEMPERATURE, CELLS = 15, 0.015, 128, 2.0, 64
FIRST = 6


class Student(nn.Module):
    """A body whose second layer may read the first layers of earlier students, and its heads."""

    def __init__(self, earlier: Sequence[Student], width: int, taps: bool, own: bool) -> None:
        super().__init__()
        self.earlier, self.taps, self.width = tuple(earlier), taps, width
        read = sum(each.width for each in earlier) if taps else 0
        self.first = nn.Conv2d(3, width, 3, 2, 1)
        self.second = nn.Conv2d(width + read, 2 * width, 3, 2, 1)
        self.features = 2 * width * CELLS
        self.head = nn.Linear(self.features + sum(each.features for each in earlier), 10)
        self.own_head = nn.Linear(self.features, 10) if own else None

    def body(self, x: Tensor, firsts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        first = F.gelu(self.first(x))
        read = [*firsts, first] if self.taps else [first]
        return first, F.gelu(self.second(torch.cat(read, dim=1))).flatten(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        firsts: list[Tensor] = []
        features: list[Tensor] = []
        with torch.no_grad():
            for each in self.earlier:
                first, hidden = each.body(x, firsts)
                firsts.append(first)
                features.append(hidden)
        hidden = self.body(x, firsts)[1]
        own = None if self.own_head is None else self.own_head(hidden)
        return self.head(torch.cat([*features, hidden], dim=1)), own


class Study:
    """The rows of a run."""

    def __init__(self, run: str, seed: int) -> None:
        found = SearchResult.of(run)
        spec, dataset = found.run.spec(), found.dataset
        logits = game_logits(found.run.teacher.all_logits())
        rules = game_rules(spec, build_problem(dataset, logits))
        parts = training_shards(dataset, logits, view_makers(spec, dataset))
        split = TrainingSplit.before_round_one([part.examples() for part in parts], rules)
        (self.shard,) = split.shards
        self.x = torch.as_tensor(np.asarray(standardised(dataset, dataset.test))).float()
        self.y = torch.as_tensor(np.asarray(dataset.test.y))
        self.seed = seed

    def trained(self, earlier: Sequence[Student], width: int, taps: bool, own: bool) -> Student:
        torch.manual_seed(100 * self.seed + 10 * len(earlier) + width)
        student = Student(earlier, width, taps, own)
        steps = EPOCHS * -(-len(self.shard) // BATCH)
        new = [p for p in student.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(new, lr=RATE, weight_decay=0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
        for epoch in range(EPOCHS):
            for rows in torch.randperm(len(self.shard)).split(BATCH):
                shown = self.shard.shown(rows, epoch)
                losses = [
                    fitting_loss(
                        logits, shown.teacher_logits, shown.labels, temperature=TEMPERATURE
                    )
                    for logits in student(shown.inputs)
                    if logits is not None
                ]
                optimizer.zero_grad()
                torch.stack(losses).sum().backward()
                optimizer.step()
                schedule.step()
        return student.eval().requires_grad_(False)

    @torch.no_grad()
    def answers(self, student: Student) -> Tensor:
        return torch.cat([student(x)[0] for x in self.x.split(500)])

    def accuracy(self, logits: Tensor) -> float:
        return float((logits.argmax(dim=1) == self.y).float().mean())


def main() -> None:
    torch.set_num_threads(1)
    study = Study(sys.argv[1], int(sys.argv[2]))
    first = study.trained([], FIRST, taps=False, own=False)

    def tell(way: str, answers: Sequence[Tensor]) -> None:
        found = [study.accuracy(each) for each in answers]
        print(way, *(f"{each:.4f}" for each in found), f"mean {np.mean(found):.4f}", flush=True)

    for way, widths, taps, own in (
        ("layers too", (4, 6, 9), True, False),
        ("layers too, own loss", (4, 6, 9), True, True),
        ("dense", (6, 9, 14), False, False),
        ("dense, own loss", (6, 9, 14), False, True),
    ):
        students = [first]
        for width in widths:
            students.append(study.trained(students, width, taps, own))
        tell(way, [study.answers(each) for each in students])
    singles = [study.trained([], width, taps=False, own=False) for width in (9, 14, 21)]
    tell("single students", [study.answers(each) for each in (first, *singles)])
    small = [study.trained([], width, taps=False, own=False) for width in (6, 9, 14)]
    answers = torch.stack([study.answers(each) for each in (first, *small)])
    tell("averages", list(answers.cumsum(dim=0)))


if __name__ == "__main__":
    main()
