"""Views: changed copies of the training examples, each with the teacher's answer to that copy.

"Knowledge distillation: a good teacher is patient and consistent" (arXiv 2106.05237): students fit
the teacher on what it was shown, not on another picture of the same. K±, edges and the margin stay
those of the examples themselves.

Copies are made when they are needed, from a few numbers that are drawn once, so whoever makes copy
k of a row, teacher or student, makes the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bdistil.core.changes import erased, masked, moved_image, moved_sequence, stretched
from bdistil.core.connections import Hidden
from bdistil.core.gathering import Gathered, GatheredHidden
from bdistil.core.placement import Device, copied
from bdistil.core.progressive_ensemble import chunks, move, take
from bdistil.core.student import Student, advance
from bdistil.spec.views import ViewSpec

NUMBERS = 8
"""Uniform numbers that a copy of an example is made from."""

KEPT_BYTES = 128 * 2**20
"""Of copies that a worker keeps in memory: making them takes as long as training small students."""

SPREAD = 2**16
"""Places where a row's noise may begin among the numbers that all rows share."""

Rows = slice | Tensor


@dataclass(frozen=True)
class Scale:
    """The units of features.

    Attributes:
        fill: what stands for nothing, broadcastable to one example: its mean.
        unit: a standard deviation, likewise.
    """

    fill: Tensor
    unit: Tensor


STANDARDISED = Scale(torch.zeros(()), torch.ones(()))


@dataclass(frozen=True)
class Draws:
    """What the copies of one number are made from.

    Attributes:
        numbers: uniform in [0, 1), float32 (n, NUMBERS).
        partner: for mixup, another row, int64 (n,).
        share: of the row itself in the mixture, float32 (n,).
        noise: normal, float32; each row's begins somewhere in it.
    """

    numbers: Tensor
    partner: Tensor
    share: Tensor
    noise: Tensor


@dataclass(frozen=True)
class ViewMaker:
    """Makes copies of consecutive rows of the training split.

    Attributes:
        settings: how copies differ.
        seed: of the search.
        first: the number of the first row, so that every shard draws its own.
        rows: how many there are.
        drawn: kept draws, by the number of the copy.
    """

    settings: ViewSpec
    seed: int
    first: int
    rows: int
    drawn: dict[int, Draws] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        return ViewMaker, (self.settings, self.seed, self.first, self.rows)

    def draws(self, copy: int, shape: torch.Size) -> Draws:
        """What copy `copy` of every row is made from, for examples of a shape."""
        if copy not in self.drawn:
            random = np.random.default_rng([self.seed, self.first, copy])
            numbers = random.random((self.rows, NUMBERS), np.float32)
            partner = random.permutation(self.rows)
            alpha = self.settings.mixup
            share = random.beta(alpha, alpha, self.rows) if alpha else np.ones(self.rows)
            size = shape.numel() + SPREAD if self.settings.noise else 0
            noise = random.standard_normal(size, np.float32)
            self.drawn[copy] = Draws(
                torch.from_numpy(numbers),
                torch.from_numpy(partner),
                torch.from_numpy(share.astype(np.float32)),
                torch.from_numpy(noise),
            )
        return self.drawn[copy]

    def make(self, inputs: Tensor, rows: Rows, copy: int, scale: Scale = STANDARDISED) -> Tensor:
        """Copy `copy` of some rows.

        Args:
            inputs: of all rows, float32 (n, ...).
            rows: which ones.
            copy: its number.
            scale: of the inputs.

        Returns:
            float32 (B, ...), where the inputs lie.
        """
        draws = self.draws(copy, inputs.shape[1:])
        found = self.changed(inputs[rows], draws, rows, scale)
        if not self.settings.mixup:
            return found
        partner = draws.partner[_on_cpu(rows)].to(inputs.device)
        other = self.changed(inputs[partner], draws, rows, scale)
        share = self.share(draws, rows, found)
        return torch.lerp(other, found, share.view(-1, *[1] * (found.dim() - 1)))

    def share(self, draws: Draws, rows: Rows, like: Tensor) -> Tensor:
        """Of the rows themselves in their mixtures, (B,)."""
        return draws.share[_on_cpu(rows)].to(like)

    def labels(self, labels: Tensor, rows: Rows, copy: int, classes: int) -> Tensor:
        """Of some rows' copies: as the rows', or mixed as they are; class indices as shares."""
        own = labels[rows]
        if not self.settings.mixup:
            return own
        draws = self.drawn[copy]
        other = labels[draws.partner[_on_cpu(rows)].to(labels.device)]
        if own.dim() == 1:
            own, other = (torch.nn.functional.one_hot(each, classes) for each in (own, other))
        share = self.share(draws, rows, own.float())
        return torch.lerp(other.float(), own.float(), share[:, None])

    def changed(self, x: Tensor, draws: Draws, rows: Rows, scale: Scale) -> Tensor:
        """Examples (B, ...) changed as their rows' numbers say."""
        settings, numbers = self.settings, draws.numbers[_on_cpu(rows)].to(x.device)
        if x.dim() == 4:
            x = moved_image(x, numbers, settings.crop, settings.flip)
            x = erased(x, numbers, settings.erase, scale.fill)
        elif x.dim() == 3:
            x = stretched(x, numbers[:, 1], settings.time_stretch, 1, x.shape[1] - 1)
            if settings.feature_stretch:  # of features in their units, which differ
                unit, fill = scale.unit.to(x), scale.fill.to(x)
                x = stretched((x - fill) / unit, numbers[:, 2], settings.feature_stretch, 2, 0)
                x = x * unit + fill
            x = moved_sequence(x, numbers, settings.shift)
            x = masked(x, numbers[:, 3:5], settings.time_mask, scale.fill, axis=1)
            x = masked(x, numbers[:, 5:7], settings.feature_mask, scale.fill, axis=2)
        if settings.noise:
            x = x + settings.noise * scale.unit.to(x) * _noise_of(x, draws, numbers)
        return x


def _on_cpu(rows: Rows) -> Rows:
    return rows if isinstance(rows, slice) else rows.cpu()


def _noise_of(x: Tensor, draws: Draws, numbers: Tensor) -> Tensor:
    """Each row's stretch of the normal numbers, shaped as the rows."""
    size = x[0].numel()
    stretches = draws.noise.to(x.device).unfold(0, size, 1)
    starts = (numbers[:, 7] * len(stretches)).long()
    return stretches[starts].view(x.shape)


@dataclass(frozen=True)
class Views:
    """All copies of a shard's rows, as the round of stage t sees them.

    Attributes:
        maker: makes them.
        teacher_logits: the teacher's answer to each copy, float16 (K, n, L).
        ensemble: F_{t-1} of each copy, float32 (K, n, L); None before the first round.
        earlier: hidden states of the students 1..t-1, their tensors float16 (K, n, ...): they are
            the largest of what a search keeps, and only trained on.
        made: copies that are kept, by their numbers.
    """

    maker: ViewMaker
    teacher_logits: Tensor
    ensemble: Tensor | None = None
    earlier: list[Hidden] = field(default_factory=list)
    made: dict[int, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def copies(self) -> int:
        """K."""
        return len(self.teacher_logits)

    def to(self, device: Device) -> Views:
        """The same with its tensors on another device."""
        stays = torch.device(device) == self.teacher_logits.device
        return replace(
            self,
            made=self.made if stays else {},
            teacher_logits=copied(self.teacher_logits, device),
            ensemble=None if self.ensemble is None else copied(self.ensemble, device),
            earlier=[move(state, device) for state in self.earlier],
        )

    def inputs_of(self, inputs: Tensor, copy: int, rows: Tensor) -> Tensor:
        """Some rows' copies, float32 (B, ...), of the shard's inputs (n, ...).

        They are made once if they are few; of the first shard alone, so that a worker keeps no
        more than :data:`KEPT_BYTES` of them.
        """
        if self.maker.first or self.copies * inputs.numel() * inputs.element_size() > KEPT_BYTES:
            return self.maker.make(inputs, rows, copy)
        if copy not in self.made:
            parts = [self.maker.make(inputs, part, copy) for part in chunks(len(inputs))]
            self.made[copy] = torch.cat(parts)
        return self.made[copy][rows]

    def ensemble_of(self, copy: int, rows: Rows) -> Tensor:
        """F_{t-1} of some rows' copies, float32 (B, L)."""
        if self.ensemble is None:
            return torch.zeros_like(self.teacher_logits[copy, rows], dtype=torch.float32)
        return self.ensemble[copy, rows]

    def earlier_of(self, copy: int, rows: Rows) -> list[Hidden]:
        """Hidden states of some rows' copies, float32."""
        return [whole(take(copy_of(state, copy), rows)) for state in self.earlier]

    @torch.no_grad()
    def joined(self, student: Student, inputs: Tensor) -> Views:
        """The copies after a student was accepted; they cost it K passes over the rows."""
        stage, skip = len(self.earlier) + 1, student.config.skip
        shape = self.copies, len(inputs)
        answers, hidden = Gathered(math.prod(shape)), GatheredHidden(math.prod(shape))
        for copy in range(self.copies):
            for rows in chunks(len(inputs)):
                x = copied(self.maker.make(inputs, rows, copy), student.device)
                earlier = [move(state, student.device) for state in self.earlier_of(copy, rows)]
                logits, state = student(x, earlier)
                before = copied(self.ensemble_of(copy, rows), student.device)
                answers.add(advance(before, logits, stage, skip).to(inputs.device))
                hidden.add(halved(move(state, inputs.device)))
        state = each_tensor(hidden.hidden, lambda tensor: tensor.unflatten(0, shape))
        return replace(
            self, ensemble=answers.tensor.unflatten(0, shape), earlier=[*self.earlier, state]
        )


def copy_of(state: Hidden, copy: int) -> Hidden:
    """The hidden state of one copy."""
    return each_tensor(state, lambda tensor: tensor[copy])


def halved(state: Hidden) -> Hidden:
    """In float16, whose largest number stands for all beyond it."""
    most = torch.finfo(torch.float16).max
    return each_tensor(state, lambda tensor: tensor.clamp(-most, most).half())


def whole(state: Hidden) -> Hidden:
    """In float32."""
    return each_tensor(state, Tensor.float)


def each_tensor(state: Hidden, change: Callable[[Tensor], Tensor]) -> Hidden:
    """A hidden state with both of its tensors changed alike."""
    return Hidden(change(state.features), None if state.memory is None else change(state.memory))
