"""Growing widths: how wide the next student may be so that the anytime curve is evenly fine."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from bdistil.core.connections import Hidden
from bdistil.core.cost import count_flops, parameters
from bdistil.core.student import Student
from bdistil.errors import SpecError
from bdistil.spec.space import WIDEST


def folded_flops(student: Student, input_shape: tuple[int, ...], earlier: tuple[int, ...]) -> int:
    """FLOPs that a student adds to a folded prefix: its hidden state and one head on it.

    Args:
        student: on any device; build it under ``torch.device("meta")`` to count for free.
        input_shape: shape of one example.
        earlier: features of the students before it, which count as LSTM students for an LSTM.
    """
    # Counted on the meta device, where fused kernels show their products.
    shadow = copy.deepcopy(student).to("meta").eval()
    with torch.device("meta"):
        x = torch.empty(1, *input_shape)
        states = [Hidden(torch.empty(1, size), torch.empty(1, size)) for size in earlier]
        head = nn.Linear(shadow.features, shadow.head.out_features)
    return count_flops(lambda: head(shadow.hidden(x, states).features))


def folded_parameters(student: Student) -> int:
    """Parameters that a student adds to a folded prefix: its hidden state's and one head's on it.

    The head's bias, one value an output, is the whole prefix's and not among them.
    """
    own = parameters(student.body) + parameters(student.connection)
    return own + student.features * student.head.out_features


def widest(
    cost: Callable[[int], float], budget: float, least: int = 1, kind: str = "the student's class"
) -> int:
    """The largest width up to a million whose cost is within `budget`, but at least `least`.

    Args:
        cost: grows with the width.
        budget: in the units of `cost`.
        least: returned even if it costs more.
        kind: the class of student whose widths they are.

    Raises:
        SpecError: if the cost does not grow.
    """
    most = max(least, WIDEST)
    low, high = least, least + 1
    while high <= most and cost(high) <= budget:
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    if low == most > least and cost(low) <= cost(least):
        raise SpecError(
            f"space.student is {kind}, which costs no more at width {low:,} than at {least:,}, so "
            f"no width fits a budget; let its layers grow with the width."
        )
    return low
