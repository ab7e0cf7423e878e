"""Networks of users' own, asked once on torch's device ``meta``, where nothing is computed.

There FLOPs are counted, so that a network that fails there cannot be used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bdistil.core.connections import Hidden, build_connection, connection_class
from bdistil.errors import FOREIGN, BdistilError, SpecError, TeacherError, told

ROWS, WIDTH = 2, 3


def check_teacher_runs(
    name: str, network: nn.Module, input_shape: tuple[int, ...], outputs: int
) -> None:
    """Ask a teacher that was built on ``meta``.

    Raises:
        TeacherError: unless it gives logits (B, outputs).
    """
    contract = (
        f"correct the class, which has to map float32 {_shape('B', *input_shape)} to logits "
        f"(B, {outputs}), on torch's device meta too."
    )
    if why := _why_not(network, input_shape, outputs):
        raise TeacherError(f"teacher {name!r} {why}; {contract}")


def check_student_runs(name: str, body: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Ask a student's body that was built on ``meta``.

    Raises:
        SpecError: unless it gives features (B, body.features).
    """
    contract = (
        f"correct the class, whose body has to map float32 {_shape('B', *input_shape)} to features "
        f"(B, body.features), on torch's device meta too."
    )
    features = getattr(body, "features", None)
    why = f"has body.features {features!r}, which is no int"
    if type(features) is int:
        why = _why_not(body, input_shape, features)
    if why:
        raise SpecError(f"student {name!r} {why}; {contract}")


def check_connection_runs(name: str) -> None:
    """Let a student follow another one of its width, and none if the connection says so.

    Raises:
        SpecError: if it fails, or gives no hidden state (B, connection.features).
    """
    for earlier in ([WIDTH],) if connection_class(name).gates else ([], [WIDTH]):
        try:
            with torch.device("meta"), torch.no_grad():
                connection = build_connection(name, WIDTH, earlier)
                given = [Hidden(torch.empty(ROWS, features)) for features in earlier]
                found = connection(torch.empty(ROWS, WIDTH), given)
                shape = tuple(found.features.shape)
        except BdistilError:
            raise
        except FOREIGN as error:
            why = f"fails ({type(error).__name__}: {told(error)})"
        else:
            if isinstance(found, Hidden) and shape == (ROWS, connection.features):
                continue
            why = f"gives features {_shape('B', *shape[1:])} with features={connection.features}"
        raise SpecError(
            f"connection {name!r} {why} after {len(earlier)} earlier students; correct the class, "
            f"which has to give Hidden of features (B, connection.features)."
        )


def _why_not(network: nn.Module, input_shape: tuple[int, ...], expected: int) -> str:
    """What keeps the network from giving numbers (B, expected); empty if nothing does."""
    x = torch.empty(ROWS, *input_shape, device="meta")
    try:
        with torch.no_grad():
            found: Any = network.eval()(x)
    except BdistilError:
        raise
    except FOREIGN as error:
        return f"fails ({type(error).__name__}: {told(error)})"
    if not isinstance(found, torch.Tensor):
        return f"gives {type(found).__name__}"
    if found.shape != (ROWS, expected):
        return f"gives {_shape('B', *found.shape[1:])} instead of (B, {expected})"
    return ""


def _shape(*sizes: object) -> str:
    return f"({', '.join(map(str, sizes))})"
