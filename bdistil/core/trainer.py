"""One student's training: Adam with a cosine schedule, epoch by epoch, with a state in between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bdistil.core.objective import Objective, term_weight
from bdistil.core.own_head import WithOwnHead
from bdistil.core.placement import copied
from bdistil.core.recipes import Recipe
from bdistil.core.round import Round
from bdistil.core.step import loss_of_step
from bdistil.core.student import Student
from bdistil.core.training_split import Shard, ShouldStop
from bdistil.core.training_state import (
    StateError,
    TrainingState,
    check_alike,
    on_cpu,
    random_states,
    set_random_states,
)
from bdistil.errors import SearchError

DEFAULT_LR = 1e-2  # where neither recipe nor student class says


class Trainer:
    """Adam with a cosine schedule over minibatches, shuffled within shuffled shards."""

    def __init__(
        self,
        student: Student,
        state: Round,
        recipe: Recipe,
        attempt: int,
        seed: int,
        compiled: bool = False,
    ) -> None:
        self.shards = state.train.shards
        self.objective = Objective(state, recipe, student.config.skip, student.device)
        self.model = WithOwnHead(student) if self.objective.has_own_loss else student
        self.loss = loss_of_step(compiled)
        weight = term_weight(recipe, attempt)
        # As a number, each further γ would be compiled anew.
        self.weight = torch.tensor(weight, device=student.device) if compiled else weight
        self.batch_size = recipe.batch_for(len(state.train))
        self.shuffle = torch.Generator().manual_seed(seed)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=recipe.lr or DEFAULT_LR,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        batches = sum(math.ceil(len(shard) / self.batch_size) for shard in self.shards)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, recipe.epochs * batches
        )

    def run_epoch(self, epoch: int, should_stop: ShouldStop) -> bool:
        """One pass over the training split, counted from 0; False if it was told to stop."""
        self.model.train()
        loss = torch.tensor(0.0)
        rows = shuffled_batches(self.shards, self.batch_size, self.shuffle)
        for batch in self.objective.batches(rows, epoch):
            if should_stop():
                return False
            self.optimiser.zero_grad()
            loss = self.loss(self.model, self.objective, batch, self.weight)
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
        if not torch.isfinite(loss):
            remedy = self.objective.recipe.remedy
            raise SearchError(f"the training loss became {loss.item()}; {remedy}.")
        return True

    def state(
        self, epochs: int, seconds: float, losses: Sequence[tuple[int, float]]
    ) -> TrainingState:
        """All that the epochs to come hang on, with the losses at the milestones so far."""
        values = {"schedule": self.schedule.state_dict(), "losses": [*losses]}
        tensors = {
            **self._weights(),
            **self._momenta(),
            **random_states(self.shuffle, self.device),
        }
        return TrainingState(epochs, seconds, on_cpu(tensors), values)

    def restore(self, state: TrainingState) -> None:
        """Take in the state of an earlier part of the same training.

        Raises:
            StateError: if it is of another one; nothing is changed then.
        """
        weights, momenta = self._weights(), self._momenta()
        randoms = random_states(self.shuffle, self.device)
        check_alike(state.tensors, {**weights, **momenta, **randoms})
        schedule = state.values["schedule"]
        if schedule["T_max"] != self.schedule.T_max:
            raise StateError(f"it is of {schedule['T_max']} steps, not {self.schedule.T_max}")
        set_random_states(state.tensors, self.shuffle, self.device)
        with torch.no_grad():
            for name, tensor in {**weights, **momenta}.items():
                tensor.copy_(state.tensors[name])
        self.schedule.load_state_dict(schedule)
        for group, lr in zip(self.optimiser.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = lr

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return next(self.model.parameters()).device

    def _weights(self) -> dict[str, Tensor]:
        return {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}

    def _momenta(self) -> dict[str, Tensor]:
        """The optimiser's tensors, made as its first step makes them if it has taken none."""
        found: dict[str, Tensor] = {}
        for name, weight in self.model.named_parameters():
            if not weight.requires_grad:
                continue
            own = self.optimiser.state[weight]
            if not own:
                own["step"] = torch.zeros((), device=weight.device)
                own["exp_avg"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
                own["exp_avg_sq"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
            found |= {f"optimiser.{name}.{key}": tensor for key, tensor in own.items()}
        return found


def shuffled_batches(
    shards: Sequence[Shard], batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Shard, Tensor]]:
    """Batches of rows of one shard each; every row once, in an order that `generator` gives."""
    for index in torch.randperm(len(shards), generator=generator).tolist():
        shard = shards[index]
        order = copied(torch.randperm(len(shard), generator=generator), shard.device)
        for rows in order.split(batch_size):
            yield shard, rows
