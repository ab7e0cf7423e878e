"""Which copies of the training examples a search shows its students."""

from __future__ import annotations

from bdistil.core.seeds import derived_seed
from bdistil.core.views import ViewMaker
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.names import Domain
from bdistil.searching.problem import rows_of_shards
from bdistil.searching.worker_count import seconds_of_training
from bdistil.spec import SpaceSpec, Spec
from bdistil.spec.views import CHANGES, ViewSpec
from bdistil.teachers.column_teacher import answers_are_given
from bdistil.teachers.select import teacher_source

COPIES = 6
ANSWERING_SPEED = 5e10  # FLOPs a second of one core, in a teacher's large layers
PASSES_OF_TRAINING = 3  # an epoch of training over asking once
FARTHEST = 8  # steps that a sequence is shifted, at most; an eighth of short ones
FEWEST_MASKED = 4  # features, of which a quarter can be masked
COLOURS = 3  # channels of a photograph that is not grey
SPOKEN = {"time_stretch": 0.2, "feature_stretch": 0.1, "mixup": 0.4}
SMALLEST = 16  # pixels of an image's shorter side, below which moving it by one is much


def suiting(dataset: Dataset) -> ViewSpec | None:
    """What `data.views: true` stands for; None where no change is known to help.

    Measured (results/2026-11-28-views, results/2026-11-29-photographs, results/2026-11-29-spoken):
    copies help students of photographs, of recordings and of a watch's sensors. Grey images are
    moved but not mirrored, as digits and letters may become others. Recordings are mixed, too.
    """
    if dataset.domain == "image":
        channels, *sides = dataset.input_shape
        if min(sides) >= SMALLEST:
            return ViewSpec(copies=COPIES, crop=min(sides) // 8, flip=channels == COLOURS)
    if dataset.domain == "sequence":
        steps, features = dataset.input_shape
        shift = min(FARTHEST, steps // FARTHEST)
        masked = 0.25 if features >= FEWEST_MASKED else 0.0
        spoken = SPOKEN if dataset.is_recorded else {}
        return ViewSpec(
            copies=COPIES, shift=shift, time_mask=0.2, feature_mask=masked, noise=0.1, **spoken
        )
    return None


def suiting_unasked(dataset: Dataset) -> ViewSpec | None:
    """The same, where several data sets speak for it; one set of sensors is too few."""
    return suiting(dataset) if dataset.domain == "image" or dataset.is_recorded else None


def with_views(spec: Spec, dataset: Dataset) -> Spec:
    """The spec with `data.views` decided: copies, or false for none.

    Copies that nobody asked for compete with the examples themselves, if the space leaves it open.

    Raises:
        SpecError: if copies of this kind make no sense for the data, the teacher or the losses.
    """
    views, space = decide_views(spec, dataset), spec.space
    if views is not None and may_compete(spec, dataset):
        space = space.model_copy(update={"views": [True, False]})
    data = spec.data.model_copy(update={"views": views or False})
    return spec.model_copy(update={"data": data, "space": space})


def may_compete(spec: Spec, dataset: Dataset) -> bool:
    """Whether copies that nobody asked for compete with the examples, if they are affordable.

    Not those of recordings, which were better in eleven of twelve first rounds.
    """
    is_open = spec.data.views is None and not spec.space.values("views")
    return is_open and dataset.domain == "image" and suiting_unasked(dataset) is not None


def told_views(asked: Spec, spec: Spec, dataset: Dataset) -> str | None:
    """What was decided where the spec leaves it open, in a sentence; None if nothing was."""
    views = spec.data.views
    if asked.data.views is not None or suiting_unasked(dataset) is None:
        return None
    if isinstance(views, ViewSpec):
        values = {name: getattr(views, name) for name in views.changes}
        changes = ", ".join(k if v is True else f"{k} {v:g}" for k, v in values.items())
        one = views.copies == 1
        use = f"{'is' if one else 'are'} what students learn from"
        if may_compete(asked, dataset):
            use = f"compete{'s' * one} with the examples themselves"
        return (
            f"views: {told_copies(views)} of each training example ({changes}), each answered by "
            f"the teacher, {use} (data.views)"
        )
    return (
        "views: none, as asking the teacher about copies would cost more than the training, or "
        "cannot be done; where students overfit they help (data.views: true)"
    )


def told_copies(views: ViewSpec) -> str:
    """How many there are, in words."""
    return "1 copy" if views.copies == 1 else f"{views.copies} copies"


def decide_views(spec: Spec, dataset: Dataset) -> ViewSpec | None:
    """The copies as the spec has them, or those that suit the data; None for none.

    More copies than epochs would never be seen, so there are none of those.

    Raises:
        SpecError: if copies of this kind make no sense for the data, the teacher or the losses.
    """
    asked = spec.data.views
    if asked is None:
        asked = affordable(suiting_unasked(dataset), spec, dataset)
    if asked is True:
        asked = suiting(dataset)
        if asked is not None and other_losses(spec.space):
            asked = asked.model_copy(update={"mixup": 0.0})  # these need whole labels
        if asked is None:
            raise SpecError(
                f"data.views is true, but for data like these no change is known to help; name "
                f"some ({', '.join(changes_of(dataset.domain))}), or remove it."
            )
    if not isinstance(asked, ViewSpec):
        return None
    check_views(asked, spec, dataset)
    epochs = [int(value) for value in spec.space.values("epochs")]
    most = max(epochs, default=asked.copies)
    return asked.model_copy(update={"copies": min(asked.copies, most)})


def affordable(views: ViewSpec | None, spec: Spec, dataset: Dataset) -> ViewSpec | None:
    """Copies that nobody asked for: only if asking about them takes no longer than the training."""
    if views is None or spec.teacher.crossfit or answers_are_given(dataset, spec):
        return None
    flops = teacher_source(dataset, spec).known_flops()
    if flops is None or other_losses(spec.space):
        return None
    once = len(dataset.train) * flops / ANSWERING_SPEED
    training = seconds_of_training(spec, dataset)
    if not spec.teacher.is_foreign:  # it is trained here, which is no less of it
        training += PASSES_OF_TRAINING * spec.teacher.epochs * once
    return views if views.copies * once <= training else None


def check_views(views: ViewSpec, spec: Spec, dataset: Dataset) -> None:
    """Refuse copies that make no sense here.

    Raises:
        SpecError: naming the field.
    """
    own = changes_of(dataset.domain)
    for name in views.changes:
        if name not in own:
            raise SpecError(
                f"data.views.{name} changes {' or '.join(CHANGES[name])} data, but these are "
                f"{dataset.domain} data; choose from {', '.join(own)}."
            )
    side = min(dataset.input_shape[1:], default=0) if dataset.domain == "image" else 0
    if views.crop >= max(side, 1) and views.crop:
        raise SpecError(
            f"data.views.crop is {views.crop}, but the images are only {side} pixels wide or high; "
            f"choose at most {side // 4 or 1}."
        )
    if spec.teacher.crossfit:
        raise SpecError(
            "data.views and teacher.crossfit do not go together: a copy has no fold that has not "
            "seen it; remove one of them."
        )
    if answers_are_given(dataset, spec):
        raise SpecError(
            "data.views asks the teacher about changed copies, but its answers in the data are "
            "about the rows alone; remove data.views, or give the model itself (teacher.model)."
        )
    if views.mixup and other_losses(spec.space):
        raise SpecError(
            "data.views.mixup mixes labels, and space.correction and space.distillation other than "
            "kl need whole ones; remove one of them."
        )


def other_losses(space: SpaceSpec) -> set[str]:
    """Corrections and distillation losses of the space but for the plain ones."""
    return {*space.values("correction"), *space.values("distillation")} - {"none", "kl"}


def changes_of(domain: Domain) -> list[str]:
    """What copies of a domain's examples can differ by."""
    return [name for name, domains in CHANGES.items() if domain in domains]


def view_makers(spec: Spec, dataset: Dataset) -> list[ViewMaker]:
    """What makes the copies of each shard of the training split; none without copies."""
    views = spec.data.views
    if not isinstance(views, ViewSpec):
        return []
    seed = derived_seed(spec.seed, "views")
    return [
        ViewMaker(views, seed, rows.start, rows.stop - rows.start)
        for rows in rows_of_shards(dataset)
    ]
