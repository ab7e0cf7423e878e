"""How student t uses the students before it.

Every connection turns the student's own features and the hidden states of the earlier students
into its own hidden state; the head then reads that state (and, for ``dense``, all earlier ones).
A connection is one class under :func:`register_connection`; users bring theirs in a module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdistil.errors import SpecError, suggest


class Hidden(NamedTuple):
    """What a student leaves to its successors.

    Attributes:
        features: float (B, d).
        memory: the LSTM cell's second state, float (B, d); None for every other connection.
    """

    features: Tensor
    memory: Tensor | None = None


class Connection(nn.Module):
    """Base of all: passes the student's own features on.

    Args:
        own: features of the student's body.
        earlier: features of each earlier student, first to last.

    Attributes:
        gates: it only bends the student's own features if there are no earlier students, so that
            a first student goes without.
        head_reads_all: the student's head reads the hidden states of all earlier students too.
        features: of the hidden state.
    """

    gates: ClassVar[bool] = False
    head_reads_all: ClassVar[bool] = False

    def __init__(self, own: int, earlier: Sequence[int]) -> None:
        super().__init__()
        self.features = own

    def forward(self, own: Tensor, earlier: Sequence[Hidden]) -> Hidden:
        """Hidden state of this student for its own features (B, own)."""
        return Hidden(own)


ConnectionClass = TypeVar("ConnectionClass", bound=type[Connection])

_CONNECTIONS: dict[str, type[Connection]] = {}


def register_connection(name: str) -> Callable[[ConnectionClass], ConnectionClass]:
    """Make a class known as the connection of that name.

    Its operations must be such as ``torch.func.vmap`` can batch, as cohorts train stacked.

    Raises:
        SpecError: if the name is taken.
    """

    def register(connection: ConnectionClass) -> ConnectionClass:
        if name in _CONNECTIONS:
            raise SpecError(f"connection name {name!r} is taken; register it under another name.")
        _CONNECTIONS[name] = connection
        return connection

    return register


@register_connection("none")
class Unconnected(Connection):
    """The earlier students are not looked at."""


@register_connection("residual")
class Residual(Connection):
    """Own features plus a projection of the previous student's."""

    def __init__(self, own: int, earlier: Sequence[int]) -> None:
        super().__init__(own, earlier)
        self.projection = nn.Linear(earlier[-1], own, bias=False) if earlier else None

    def forward(self, own: Tensor, earlier: Sequence[Hidden]) -> Hidden:
        """Hidden state of this student for its own features (B, own)."""
        if self.projection is None:
            return Hidden(own)
        return Hidden(own + self.projection(earlier[-1].features))


@register_connection("dense")
class Dense(Connection):
    """The head reads the hidden states of all earlier students beside the own features."""

    head_reads_all = True


class Gated(Connection):
    """A recurrent cell over rounds: own features in, the previous hidden state as its state.

    Students may differ in width, so a state of another width is projected first.
    """

    gates = True

    def __init__(self, own: int, earlier: Sequence[int]) -> None:
        super().__init__(own, earlier)
        differs = bool(earlier) and earlier[-1] != own
        self.projection = nn.Linear(earlier[-1], own, bias=False) if differs else None

    def state(self, own: Tensor, previous: Tensor | None) -> Tensor:
        """The previous student's state in this student's width; zeros for the first student."""
        if previous is None:
            return torch.zeros_like(own)
        projected: Tensor = previous if self.projection is None else self.projection(previous)
        return projected


@register_connection("lstm")
class LSTM(Gated):
    """An LSTM cell over rounds; a predecessor without memory counts as an empty one."""

    def __init__(self, own: int, earlier: Sequence[int]) -> None:
        super().__init__(own, earlier)
        self.cell = nn.LSTMCell(own, own)

    def forward(self, own: Tensor, earlier: Sequence[Hidden]) -> Hidden:
        """Hidden state of this student for its own features (B, own)."""
        features, memory = earlier[-1] if earlier else (None, None)
        return Hidden(
            *lstm_step(self.cell, own, self.state(own, features), self.state(own, memory))
        )


@register_connection("gru")
class GRU(Gated):
    """A GRU cell over rounds."""

    def __init__(self, own: int, earlier: Sequence[int]) -> None:
        super().__init__(own, earlier)
        self.cell = nn.GRUCell(own, own)

    def forward(self, own: Tensor, earlier: Sequence[Hidden]) -> Hidden:
        """Hidden state of this student for its own features (B, own)."""
        previous = earlier[-1].features if earlier else None
        return Hidden(gru_step(self.cell, own, self.state(own, previous)))


def lstm_step(cell: nn.LSTMCell, x: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """What the cell does, in operations that vmap can batch, as it cannot torch's own cells."""
    from_x = F.linear(x, cell.weight_ih, cell.bias_ih)
    enter, keep, new, leave = (from_x + F.linear(state, cell.weight_hh, cell.bias_hh)).chunk(
        4, dim=1
    )
    memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * memory.tanh(), memory


def gru_step(cell: nn.GRUCell, x: Tensor, state: Tensor) -> Tensor:
    """What the cell does, in operations that vmap can batch."""
    from_x = F.linear(x, cell.weight_ih, cell.bias_ih).chunk(3, dim=1)
    from_state = F.linear(state, cell.weight_hh, cell.bias_hh).chunk(3, dim=1)
    reset, update = ((a + b).sigmoid() for a, b in zip(from_x[:2], from_state[:2], strict=True))
    new = (from_x[2] + reset * from_state[2]).tanh()
    return new + update * (state - new)


def connection_names() -> tuple[str, ...]:
    """Every known connection, in the order of registration."""
    return tuple(_CONNECTIONS)


def connection_class(name: str) -> type[Connection]:
    """The connection of that name.

    Raises:
        SpecError: if there is none.
    """
    if name not in _CONNECTIONS:
        raise SpecError(f"connection {name!r} is unknown; {suggest(name, _CONNECTIONS)}.")
    return _CONNECTIONS[name]


def connection_of_stage(name: str, stage: int) -> str:
    """A connection as students of a stage have it: a first student has nothing to gate.

    A cell there would cost what a cell costs and only bend the student's own features.

    Raises:
        SpecError: if there is no connection of that name.
    """
    return "none" if stage == 1 and connection_class(name).gates else name


def build_connection(name: str, own: int, earlier: Sequence[int]) -> Connection:
    """The connection `name` for a student of `own` features after students of `earlier` features.

    Raises:
        SpecError: if there is no connection of that name.
    """
    return connection_class(name)(own, earlier)


def head_sources(name: str, earlier: Sequence[int]) -> tuple[int, ...]:
    """Indices of the earlier students whose hidden states the head of a new one reads.

    Raises:
        SpecError: if there is no connection of that name.
    """
    return tuple(range(len(earlier))) if connection_class(name).head_reads_all else ()
