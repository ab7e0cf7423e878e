"""The training split as the game sees it: shards of rows, each with its margin.

F_{t-1} and the weights follow from the margin, so they are computed for the rows at hand and not
kept: beside the data, a shard costs one margin matrix and the students' hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bdistil.core.connections import Hidden
from bdistil.core.examples import Examples, zeros_like
from bdistil.core.game import Game, Rules, Summary, Verdict
from bdistil.core.gathering import Gathered, GatheredHidden
from bdistil.core.progressive_ensemble import ROWS, chunks, move, take
from bdistil.core.student import Student, student_logits
from bdistil.core.views import Views

ShouldStop = Callable[[], bool]


class Stopped(Exception):  # noqa: N818
    """What a candidate was trained for is over; nobody waits for its figures."""


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of the training split in the round of stage t.

    Attributes:
        inputs: standardised features, float32 (n, ...).
        teacher_logits: g, centred logits, float32 (n, L).
        labels: class indices (n,) or targets (n, L); None if unknown.
        game: the game on these rows.
        earlier: hidden states of the students 1..t-1.
        views: what students are trained on in place of the rows; None if on these.
        weights: of the rows in fitting losses, float32 (n,); None weighs all alike.
    """

    inputs: Tensor
    teacher_logits: Tensor
    labels: Tensor | None
    game: Game
    earlier: list[Hidden] = field(default_factory=list)
    views: Views | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.inputs.device

    @property
    def numbers_of_a_row(self) -> int:
        """What a row is made of: features, logits of teacher and ensemble, hidden states."""
        hidden = sum(state.features.shape[1] for state in self.earlier)
        return self.inputs[:1].numel() + 2 * self.teacher_logits.shape[1] + hidden

    @property
    def stage(self) -> int:
        """t, counted from 1, of the student that this round looks for."""
        return len(self.earlier) + 1

    def take(self, rows: slice | Tensor) -> Examples:
        """Some rows with their F_{t-1} = g + M / (η (t - 1))."""
        teacher_logits = self.teacher_logits[rows]
        first = self.stage == 1
        ensemble = (
            torch.zeros_like(teacher_logits)
            if first
            else teacher_logits + self.game.ensemble_gap(self.stage - 1, rows)
        )
        return Examples(
            self.inputs[rows],
            teacher_logits,
            None if self.labels is None else self.labels[rows],
            ensemble,
            [take(state, rows) for state in self.earlier],
            weights=self.weights_of(rows),
        )

    def weights_of(self, rows: slice | Tensor) -> Tensor | None:
        """Of some rows, if they have any."""
        return None if self.weights is None else self.weights[rows]

    def shown(self, rows: Tensor, epoch: int) -> Examples:
        """What students are trained on in an epoch, counted from 0: these rows, or a copy."""
        if self.views is None:
            return self.take(rows)
        views, copy, labels = self.views, epoch % self.views.copies, self.labels
        inputs = views.inputs_of(self.inputs, copy, rows)
        if labels is not None:
            labels = views.maker.labels(labels, rows, copy, self.teacher_logits.shape[1])
        return Examples(
            inputs,
            views.teacher_logits[copy, rows].float(),
            labels,
            views.ensemble_of(copy, rows),
            views.earlier_of(copy, rows),
            weights=self.weights_of(rows),
        )

    def chunks(self) -> Iterator[slice]:
        """The rows in pieces that are evaluated at once."""
        return chunks(len(self), ROWS)

    @torch.no_grad()
    def gap(self, student: Student, rows: slice) -> tuple[Tensor, Hidden]:
        """f_t - g, float32 (n, L), and the hidden state of a student on some rows.

        The student may be on another device; the results are on the shard's.
        """
        batch = self.take(rows).to(student.device)
        logits, hidden = student(batch.inputs, batch.earlier)
        own = student_logits(batch.ensemble, logits, self.stage, student.config.skip)
        return (own - batch.teacher_logits).to(self.device), move(hidden, self.device)

    def played(self, student: Student) -> tuple[Tensor, Hidden]:
        """The margin M + η (f_t - g), float32 (n, L), and the student's hidden state."""
        margin = self.game.margin.new_empty(self.teacher_logits.shape)
        states = GatheredHidden(len(self))
        for rows in self.chunks():
            gap, hidden = self.gap(student, rows)
            margin[rows] = self.game.margin[rows] + self.game.rules.step * gap
            states.add(hidden)
        return margin, states.hidden


@dataclass(frozen=True)
class TrainingSplit:
    """All rows of the training split.

    Attributes:
        shards: in row order; their games share one summary.
    """

    shards: Sequence[Shard]

    @classmethod
    def before_round_one(cls, parts: Sequence[Examples], rules: Rules) -> TrainingSplit:
        """The split when no student is there yet: all margins zero, and without memory."""
        teacher_logits = parts[0].teacher_logits
        rows, outputs = sum(len(part) for part in parts), teacher_logits.shape[1]
        summary = Summary.start(rows, outputs).to(teacher_logits.device)
        return cls(
            [
                Shard(
                    part.inputs,
                    part.teacher_logits,
                    part.labels,
                    Game(zeros_like(part.teacher_logits), rules, summary),
                    views=part.views,
                    weights=part.weights,
                )
                for part in parts
            ]
        )

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def stage(self) -> int:
        """t, counted from 1, of the student that this round looks for."""
        return self.shards[0].stage

    @property
    def rules(self) -> Rules:
        """Constants of the game."""
        return self.shards[0].game.rules

    def judge(
        self, student: Student, should_stop: ShouldStop = lambda: False
    ) -> tuple[Verdict, float]:
        """Edges of a student and G = max|f_t - g|; the latter is NaN if any logit is.

        Raises:
            Stopped: as soon as `should_stop`, asked before each chunk of rows, answers true.
        """
        count = sum(len(range(0, len(shard), ROWS)) for shard in self.shards)
        sums, largest = Gathered(count), Gathered(count)
        for shard in self.shards:
            for rows in shard.chunks():
                if should_stop():
                    raise Stopped
                gap, _ = shard.gap(student, rows)
                sums.add(torch.stack(shard.game.edge_sums(gap, rows))[None])
                largest.add(gap.abs().max()[None])
        edges, reach = sums.tensor.sum(dim=0).cpu()
        verdict = Verdict.of(edges, reach, joint=self.rules.joint)
        return verdict, largest.tensor.max().item()

    def played(self, student: Student) -> TrainingSplit:
        """The split after `student` was accepted."""
        results = [shard.played(student) for shard in self.shards]
        return self.with_margins(
            [margin for margin, _ in results],
            Summary.merged([summary_of(margin) for margin, _ in results]),
            [
                [*shard.earlier, hidden]
                for shard, (_, hidden) in zip(self.shards, results, strict=True)
            ],
            [
                None if shard.views is None else shard.views.joined(student, shard.inputs)
                for shard in self.shards
            ],
        )

    def with_margins(
        self,
        margins: Sequence[Tensor],
        summary: Summary,
        earlier: Sequence[list[Hidden]],
        views: Sequence[Views | None] | None = None,
    ) -> TrainingSplit:
        """The split in another round, shard by shard; without views it has none."""
        news = zip(self.shards, margins, earlier, views or [None] * len(self.shards), strict=True)
        return TrainingSplit(
            [
                replace(shard, game=Game(margin, self.rules, summary), earlier=states, views=seen)
                for shard, margin, states, seen in news
            ]
        )


def summary_of(margin: Tensor) -> Summary:
    """The summary of a shard's margin; computed chunk by chunk, so it needs no second matrix."""
    pieces = margin.split(ROWS)
    log_cosh, log_sinh = Gathered(len(pieces)), Gathered(len(pieces))
    for rows in pieces:
        summary = Summary.of(rows)
        log_cosh.add(summary.log_cosh[None])
        log_sinh.add(summary.log_sinh[None])
    return Summary(len(margin), log_cosh.tensor.logsumexp(dim=0), log_sinh.tensor.logsumexp(dim=0))
