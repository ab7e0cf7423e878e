"""The loss of one training step, in bf16 and compiled where that is wanted.

Both are options of speed. The student's products run in bf16, but logits, margins, edges and the
loss stay float32. Compiling joins forward pass and loss; the student itself stays as it was.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bdistil.core.objective import Batch, Objective

Model = Callable[..., tuple[Tensor, Any]]  # a student, maybe with a second head, or a stack
StepLoss = Callable[[Model, Objective, Batch, float | Tensor], Tensor]

VARIANTS = 64  # of compiled steps: a round, class, width and batch size each; torch's limit is 8


def loss_of_step(compiled: bool) -> StepLoss:
    """What computes the loss of each step."""
    return COMPILED if compiled else step_loss


def step_loss(model: Model, objective: Objective, batch: Batch, weight: float | Tensor) -> Tensor:
    """The objective on a batch, float32 (...), with the recipe's precision in the forward pass."""
    examples = batch.examples
    with autocast(objective.recipe.precision, examples.inputs.device):
        logits, second = model(examples.inputs, examples.earlier)
    own = second.float() if objective.has_own_loss else None
    return objective.loss(logits.float(), batch, weight, own)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """torch's autocast to bf16, or nothing for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


class CompiledStep:
    """:func:`step_loss` through torch.compile; where that fails, without, after one warning.

    The first step of an architecture takes seconds to a minute. Candidates of the same class,
    width and round share what was compiled, whatever their learning rate, γ and seed.
    """

    def __init__(self, backend: str = "inductor") -> None:
        self.backend = backend
        self.function: StepLoss | None = None

    def __call__(
        self, model: Model, objective: Objective, batch: Batch, weight: float | Tensor
    ) -> Tensor:
        """The loss, float32 (...)."""
        if self.function is None:
            limit = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(limit, VARIANTS)
            self.function = torch.compile(step_loss, backend=self.backend)
        try:
            return self.function(model, objective, batch, weight)
        except torch._dynamo.exc.TorchDynamoException as error:
            self.function = step_loss
            _warn(error)
        return step_loss(model, objective, batch, weight)


def _warn(error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    warnings.warn(
        f"workers.compile is true, but torch.compile fails here ({reason}), so candidates train "
        f"without it; install a C++ compiler such as g++ on every node.",
        stacklevel=3,
    )


COMPILED = CompiledStep()
