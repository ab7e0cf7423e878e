"""Networks of torchvision and timm by name."""

from __future__ import annotations

from typing import Any

from bdistil.errors import SpecError, did_you_mean
from bdistil.optional import require


def torchvision_models() -> Any:
    """The module ``torchvision.models``.

    Raises:
        MissingDependencyError: if torchvision is not installed.
    """
    return require("torchvision", "vision").models


def timm_package() -> Any:
    """The module ``timm``.

    Raises:
        MissingDependencyError: if timm is not installed.
    """
    return require("timm", "timm")


def check_listed(name: str, known: list[str], library: str, field: str) -> None:
    """Refuse what a library does not list.

    Raises:
        SpecError: naming the field of the spec, and the most similar network.
    """
    if name not in known:
        hint = did_you_mean(name, known) or f"see {library}'s list of models."
        raise SpecError(f"{field}: {library} has no model {name!r}; {hint}")
