"""Views: changed copies of the training examples, each with the teacher's answer to that copy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from bdistil.names import Domain
from bdistil.spec.section import Section

Part = Annotated[float, Field(ge=0, lt=1)]

CHANGES: dict[str, tuple[Domain, ...]] = {
    "crop": ("image",),
    "flip": ("image",),
    "erase": ("image",),
    "shift": ("sequence",),
    "time_stretch": ("sequence",),
    "feature_stretch": ("sequence",),
    "time_mask": ("sequence",),
    "feature_mask": ("sequence",),
    "noise": ("tabular", "image", "sequence"),
    "mixup": ("tabular", "image", "sequence"),
}
"""What a copy can differ by, and the domains that have it."""


class ViewSpec(Section):
    """Changed copies of the training examples; students see one an epoch, in turn."""

    copies: Annotated[int, Field(ge=1, le=1000)] = 6
    """of each example; the teacher is asked once about each"""
    crop: NonNegativeInt = 0
    """photographs: moved by up to so many pixels each way, the rim mirrored"""
    flip: bool = False
    """photographs: half of the copies are mirrored, left to right"""
    erase: Part = 0.0
    """photographs: a square is wiped out, its side up to this share of the shorter side"""
    shift: NonNegativeInt = 0
    """sequences: moved by up to so many steps each way, the ends repeated"""
    time_stretch: Part = 0.0
    """sequences: slower or faster by up to this share; the last step stays"""
    feature_stretch: Part = 0.0
    """recordings: frequencies higher or lower by up to this share, as other voices have them"""
    time_mask: Part = 0.0
    """sequences: up to this share of the steps is wiped out, at one place"""
    feature_mask: Part = 0.0
    """sequences: up to this share of the features (of a recording: of its frequencies)"""
    noise: NonNegativeFloat = 0.0
    """normal noise, in standard deviations of the feature"""
    mixup: NonNegativeFloat = 0.0
    """mixed with another example by a share from Beta(α, α) of this α, labels alike"""

    @model_validator(mode="after")
    def _changes_something(self) -> ViewSpec:
        if not self.changes:
            raise ValueError(f"change nothing; give one of {', '.join(CHANGES)}, or false for none")
        return self

    @property
    def changes(self) -> tuple[str, ...]:
        """What copies differ by."""
        return tuple(name for name in CHANGES if getattr(self, name))
