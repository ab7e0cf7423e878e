"""Which copies of the training examples a search shows its students."""

from __future__ import annotations

from bdistil.core.seeds import derived_seed
from bdistil.core.views import ViewMaker
from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.names import Domain
from bdistil.searching.problem import rows_of_shards
from bdistil.spec import Spec
from bdistil.spec.views import CHANGES, ViewSpec

BY_DOMAIN: dict[Domain, ViewSpec] = {}
"""What `data.views: true` stands for."""


def decide_views(spec: Spec, dataset: Dataset) -> ViewSpec | None:
    """The copies as the spec has them, or as the domain wants them; None for none.

    More copies than epochs would never be seen, so there are none of those.

    Raises:
        SpecError: if copies of this kind make no sense for the data, the teacher or the losses.
    """
    asked = spec.data.views
    if asked is None or asked is False:
        return None
    if asked is True:
        if dataset.domain not in BY_DOMAIN:
            raise SpecError(
                f"data.views is true, but for {dataset.domain} data there is no change that is "
                f"known to help; name some ({', '.join(changes_of(dataset.domain))}), or remove it."
            )
        asked = BY_DOMAIN[dataset.domain]
    check_views(asked, spec, dataset)
    epochs = [int(value) for value in spec.space.values("epochs")]
    most = max(epochs, default=asked.copies)
    return asked.model_copy(update={"copies": min(asked.copies, most)})


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
    if spec.teacher.columns is not None:
        raise SpecError(
            "data.views asks the teacher about changed copies, but teacher.columns answers about "
            "the rows alone; remove data.views, or give the model itself (teacher.model)."
        )
    losses = spec.space.values("correction") + spec.space.values("distillation")
    if views.mixup and set(losses) - {"none", "kl"}:
        raise SpecError(
            "data.views.mixup mixes labels, and space.correction and space.distillation other than "
            "kl need whole ones; remove one of them."
        )


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
