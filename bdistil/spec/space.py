"""The dimensions that trials search over, each declared once.

A dimension is a field of :class:`Settings`: its type with bounds, its words for people and, where
all recipes agree, its default. The field of :class:`SpaceSpec`, what is sampled and in which order,
what members of a cohort may differ in, a trial's recipe, docs/spec.md and its schema follow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from bdistil.names import Correction, Distillation, RecipeChoice, RecipeName
from bdistil.spec.section import STRICT, Choices, Count, Range, Section, dimension_of

WIDEST = 1_000_000  # units of a student
LADDER = [8, 16, 32]  # widths where nothing is said

Ladder = Choices[int] | Choices[dict[str, int]]

Value = TypeVar("Value")
Space = TypeVar("Space", bound=Section)
Own = Annotated[Value, "own"]
"""What members of a cohort may differ in (see core/cohort.py)."""
Later = Annotated[Value, "later"]
"""What has no effect in round 1, where every edge is zero and there are no earlier students."""
Share = Annotated[float, Field(ge=0, le=1)]
Option = bool | int | float | str
"""A value of an option of a student class."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Settings:
    """One value for each dimension that a recipe decides if the space does not.

    The order is that of sampling: a new dimension comes last, so that searches stay what they were.
    """

    connection: Later[str]
    """how a student uses the ones before it: `none`, `residual`, `dense`, `lstm`, `gru` or your own
    (docs/students.md)
    """
    skip: Later[bool]
    """add the student's logits to the ensemble's: f_t = F_{t-1} + t·a_t instead of f_t = a_t"""
    gamma: Own[Later[PositiveFloat]]
    """the weak-learning term is weighted by 1/γ"""
    lr: Own[PositiveFloat] | None = None
    """peak learning rate; the recipe's or the student class's own if left out, or, with a goal and
    an algorithm other than `grid`, a range from a tenth of the class's up to it
    """
    epochs: Count
    """passes over the training split, with a cosine schedule"""
    batch_size: Count | None = None
    """examples a step; min(128, max(16, N/4)) if the recipe has none"""
    label_share: Share
    """weight of the labels in the fitting loss; the rest is distillation"""
    temperature: PositiveFloat
    """τ of the distillation loss"""
    weight_decay: Own[NonNegativeFloat] = 0.0
    """decoupled, of AdamW"""
    early_accept: Later[bool] = False
    """stop at the first epoch whose edges hold, as published: fast and much less accurate. Round 1,
    where every edge is zero, has its full schedule all the same
    """
    distillation: Distillation = "kl"
    """the distillation loss: `kl` (annealed cross-entropy, of softmax at τ; so if left out),
    `squared_p` (squared error of probabilities), `squared_log_p` (of log p, that is of centred
    logits)
    """
    correction: Correction = "none"
    """of the distillation loss by the labels (docs/method.md); none if left out"""
    correction_bound: Own[PositiveFloat] | None = None
    """c of the correction: how wrong the teacher may be. Useful values are small; null takes 0.001
    (`bounded`), 0.03 (`minimax_absolute`), 0.1 (`minimax_power`) or 0.3 (`minimax_relative`)
    """
    own_loss: Later[NonNegativeFloat] = 0.0
    """weight of the same fitting loss on a second head, which reads the student's own features
    alone and is dropped after training; for data on which later students learn too little
    """
    views: bool = True
    """train on the copies of `data.views`, or on the examples themselves; `[true, false]` lets both
    compete
    """


def _without_none(hint: Any) -> Any:
    return next((kind for kind in get_args(hint) if NoneType in get_args(hint)), hint)


KINDS: dict[str, Any] = {
    name: _without_none(hint)
    for name, hint in get_type_hints(Settings, include_extras=True).items()
}
DIMENSIONS = ("recipe", "student", *KINDS)


def _marked(mark: Any) -> tuple[str, ...]:
    (word,) = mark.__metadata__
    return tuple(name for name, kind in KINDS.items() if word in getattr(kind, "__metadata__", ()))


COHORT_OWN = _marked(Own)
WITHOUT_EFFECT_IN_ROUND_1 = _marked(Later)


def with_dimensions(space: type[Space]) -> type[Space]:
    """The model with each setting as a field: a constant, choices or, for numbers, a range."""
    fields: dict[str, Any] = {}
    for name, kind in KINDS.items():
        words = Settings.__pydantic_fields__[name].description  # type: ignore[attr-defined]
        fields[name] = (dimension_of(kind), Field(None, description=words))
    return create_model(
        space.__name__,
        __base__=space,
        __module__=space.__module__,
        __doc__=space.__doc__,
        **fields,
    )


@with_dimensions
class SpaceSpec(Section):
    """The dimensions that trials search over."""

    recipe: RecipeChoice | Choices[RecipeName] = "auto"
    """`accurate`, `faithful`, `auxiliary` or `paper` (docs/method.md); the first one rules
    normalisation. `auto` lets those compete that suit the data, at equal costs
    """
    student: str | Choices[str] = "auto"
    """student classes of `bdistil students`, also `torchvision:NAME` and `timm:NAME`"""
    ladder: Ladder | None = None
    """widths of the growing classes F_1, F_2, ..., or a student class with its width for each:
    `[{mlp: 8}, {mlp: 16}, {cnn: 8}]`; null: 8, 16 and 32, or narrower ones where a goal allows the
    last stage less than a first student of width 8 costs
    """
    options: dict[str, dict[str, Option | Choices[Option]]] = Field({})
    """architecture of student classes (`bdistil students`): a value, or choices to search,
    `{convnet: {kernel: [3, 5]}}`; widths follow, so that candidates of a stage cost the same
    """
    growth: NonNegativeFloat | None = None
    """cumulative FLOPs of stage t+1 over stage t; 0 = equal widths"""

    def values(self, dimension: str) -> tuple[Any, ...]:
        """Every value named in a dimension: its constant, its choices or its two bounds."""
        value = getattr(self, dimension)
        if value is None:
            return ()
        if isinstance(value, Range):
            return value.bounds()
        return tuple(value) if isinstance(value, list) else (value,)

    @property
    def rungs(self) -> list[tuple[str | None, int]]:
        """Class and width of F_1, F_2, ...; no class where every rung has the space's."""
        pairs = [rung if isinstance(rung, dict) else {None: rung} for rung in self.ladder or LADDER]
        return [pair for rung in pairs for pair in rung.items()]

    @property
    def students(self) -> tuple[str, ...]:
        """Every student class that a candidate may be of."""
        named = dict.fromkeys(name for name, _ in self.rungs if name is not None)
        return tuple(named) or self.values("student")

    @property
    def first_students(self) -> list[tuple[str, int]]:
        """Student classes of F_1 with their width."""
        own, width = self.rungs[0]
        return [(kind, width) for kind in ([own] if own else self.students)]

    def choices_of(self, student: str) -> dict[str, tuple[Option, ...]]:
        """The values to search of each option of a student class."""
        options = self.options.get(student, {})
        return {k: tuple(v) if isinstance(v, list) else (v,) for k, v in options.items()}

    def variants(self, student: str) -> Iterator[dict[str, Option]]:
        """Every architecture of a student class that the space has."""
        choices = self.choices_of(student)
        for values in itertools.product(*choices.values()):
            yield dict(zip(choices, values, strict=True))

    @field_validator("ladder")
    @classmethod
    def _growing(cls, ladder: Ladder | None) -> Ladder | None:
        of_class: dict[str, list[int]] = {}
        for rung in ladder or ():
            if isinstance(rung, dict) and len(rung) != 1:
                raise ValueError(f"each class is one student class and its width, not {rung}")
            (pair,) = rung.items() if isinstance(rung, dict) else [("", rung)]
            of_class.setdefault(pair[0], []).append(pair[1])
        for widths in of_class.values():
            if widths[0] < 1 or any(a >= b for a, b in itertools.pairwise(widths)):
                raise ValueError(f"widths must be positive and growing, not {widths}")
            if widths[-1] > WIDEST:
                raise ValueError(f"widths go up to {WIDEST:,}, not {widths[-1]:,}")
        return ladder

    @model_validator(mode="after")
    def _classes_in_one_place(self) -> SpaceSpec:
        if self.ladder and isinstance(self.ladder[0], dict) and self.student != "auto":
            raise ValueError("space.ladder names student classes already; remove space.student")
        return self

    @field_validator("growth")
    @classmethod
    def _grows(cls, growth: float | None) -> float | None:
        if growth and growth <= 1:
            raise ValueError(f"must be above 1, or 0 for equal widths, not {growth:g}")
        return growth
