"""What the method's theory says of a run, from its journal alone (arXiv 2302.10093)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bdistil.core.game import guarantee
from bdistil.names import Normalisation
from bdistil.runs.journal import RoundRecord
from bdistil.words import counted


@dataclass(frozen=True)
class Guarantee:
    """Whether the paper's bound on max|F_T - g| holds for a run, and the one that always does.

    Attributes:
        normalisation: of K+ and K-.
        step: η.
        assumed_gap: G that η is made for, in logits.
        largest_gap: the largest max|f_t - g| that there was.
        edges_hold: rounds whose student has an edge of at least zero.
        rounds: accepted ones.
        planned: T that η is made for.
        paper_bound: the paper's, in logits; None where a premise fails or rounds are missing.
        certificate: of the last round; holds whatever the edges were.
        missing: the premises that fail, in words.
    """

    normalisation: Normalisation
    step: float
    assumed_gap: float
    largest_gap: float
    edges_hold: int
    rounds: int
    planned: int
    paper_bound: float | None
    certificate: float
    missing: tuple[str, ...]

    @classmethod
    def of(
        cls, records: Sequence[RoundRecord], planned: int, normalisation: Normalisation
    ) -> Guarantee | None:
        """Of accepted rounds; None for runs of versions that did not write the game down."""
        if not records or records[-1].game is None:
            return None
        game = records[-1].game
        largest = max(record.result.largest_gap for record in records)
        held = sum(record.result.edge >= 0 for record in records)
        missing = []
        if held < len(records):
            missing.append(f"edges held in {held} of {counted(len(records), 'round')}")
        if largest > game.assumed_gap:
            missing.append(f"G reached {largest:.3g}, beyond the {game.assumed_gap:.3g} of eta")
        if len(records) < planned:
            missing.append(f"{len(records)} of the {planned} rounds of eta played")
        entries = (game.step * game.assumed_gap) ** 2 * planned  # η = sqrt(entries / T) / G
        bound = None if missing else guarantee(game.assumed_gap, planned, entries)
        return cls(
            normalisation,
            game.step,
            game.assumed_gap,
            largest,
            held,
            len(records),
            planned,
            bound,
            game.certificate,
            tuple(missing),
        )

    def __str__(self) -> str:
        said = (
            f"game: {self.normalisation}, eta {self.step:.3g}; max|F-g| is at most "
            f"{self.certificate:.3g} on the training split"
        )
        if self.paper_bound is not None and math.isfinite(self.paper_bound):
            return f"{said}, by the paper's bound at most {self.paper_bound:.3g}"
        return f"{said}; the paper's bound does not hold ({'; '.join(self.missing)})"
