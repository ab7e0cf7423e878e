"""FastGRNN, a gated recurrent layer with one pair of matrices (arXiv 1901.02358)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FastGRNN(nn.Module):
    """h = (ζ (1 - z) + ν) tanh(Wx + Uh' + b_h) + z h' with the gate z = σ(Wx + Uh' + b_z).

    Gate and candidate share W and U, so a layer has a third of a GRU's parameters. ζ and ν are
    learnt numbers between 0 and 1.

    Args:
        inputs: features of a step.
        width: units.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(inputs, width, bias=False)
        self.recurrent = nn.Linear(width, width, bias=False)
        self.gate_bias = nn.Parameter(torch.ones(width))
        self.candidate_bias = nn.Parameter(torch.ones(width))
        self.zeta = nn.Parameter(torch.tensor([1.0]))  # before the sigmoid, as published
        self.nu = nn.Parameter(torch.tensor([-4.0]))

    def forward(self, x: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States (B, time, width) after each step, and (1, B, width) after the last.

        Args:
            x: steps, (B, time, inputs).
            before: the state that they find, (1, B, width), as torch's layers have it; else zeros.
        """
        zeta, nu = self.zeta.sigmoid(), self.nu.sigmoid()
        steps, states = self.inputs(x).unbind(dim=1), []
        state = torch.zeros_like(steps[0]) if before is None else before[0]
        for step in steps:
            mixed = step + self.recurrent(state)
            gate = torch.sigmoid(mixed + self.gate_bias)
            candidate = torch.tanh(mixed + self.candidate_bias)
            state = (zeta * (1 - gate) + nu) * candidate + gate * state
            states.append(state)
        return torch.stack(states, dim=1), state[None]
