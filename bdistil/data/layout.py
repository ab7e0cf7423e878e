"""What the axes of an array of examples mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError, SpecError
from bdistil.names import LAYOUTS, Domain, Layout

DOMAINS: dict[int, Domain] = {2: "tabular", 3: "sequence", 4: "image"}
AXES: dict[str, str] = {"vector": "NF", "sequence": "NTF", "image": "NHW"}
CHANNELS = (1, 3, 4)
LEAST_SIDE = 8
SQUARISH = 1.5
"""Sides of a picture seldom differ by more; a sequence's axes often do."""
LOOKED_AT = 64


class Reading(NamedTuple):
    """An array as one kind of input, and how it was taken, in words."""

    x: NDArray[Any]
    domain: Domain
    said: str


def arranged(x: NDArray[Any], layout: Layout | None) -> Reading:
    """The array with its axes as networks take them; one on disk stays there.

    Args:
        x: numbers, (N, features), (N, time, features), or (N, channels, height, width) unless
            `layout` says otherwise.
        layout: `data.layout`: NF (vector), NTF (sequence), NFT, NHW (image), NCHW or NHWC; None
            decides by the shape.

    Raises:
        DataError: if the shape is none of these, or could mean two things.
        SpecError: if the layout has other axes than the array.
    """
    if layout is not None:
        return _as_told(x, layout)
    if x.ndim not in DOMAINS:
        raise DataError(
            f"array 'x' has shape {x.shape}; give (N, features), (N, time, features) or "
            "(N, channels, height, width)."
        )
    if x.ndim == 3 and _may_be_grey(x):
        _, rows, columns = x.shape
        raise DataError(
            f"array 'x' of shape {x.shape} may hold sequences of {rows} steps of {columns} "
            f"features, or grey images of {rows} x {columns}; set data.layout=sequence or "
            "data.layout=image."
        )
    if x.ndim == 4 and _may_have_channels_last(x.shape):
        _, a, b, c = x.shape
        raise DataError(
            f"array 'x' of shape {x.shape} may hold images of {a} x {b} with {c} "
            f"channel{'s' if c > 1 else ''} last, or of {b} x {c} with {a} channels first; set "
            "data.layout=NHWC or data.layout=NCHW."
        )
    return Reading(x, DOMAINS[x.ndim], "")


def as_laid_out(x: NDArray[Any], layout: str | None) -> NDArray[Any]:
    """A file's array with its axes as those of training (:func:`arranged`) were taken.

    With another number of axes it stays as it is: then it is not such a file.
    """
    if layout not in LAYOUTS or x.ndim != len(AXES.get(layout, layout)):
        return x
    return _as_told(x, layout).x


def _as_told(x: NDArray[Any], layout: Layout) -> Reading:
    axes = AXES.get(layout, layout)
    if layout == "image" and x.ndim == 4:
        return arranged(x, None)
    if x.ndim != len(axes):
        raise SpecError(
            f"data.layout is {layout}, but array 'x' has shape {x.shape}; give {len(axes)} axes "
            "or another layout."
        )
    said = f"axes read as {layout}"
    if axes == "NF":
        return Reading(x, "tabular", said)
    if axes == "NHW":
        return Reading(x[:, None], "image", said)
    if axes == "NHWC":
        return Reading(x.transpose(0, 3, 1, 2), "image", said)
    if axes == "NFT":
        return Reading(x.transpose(0, 2, 1), "sequence", said)
    return Reading(x, "image" if axes == "NCHW" else "sequence", said)


def _may_be_grey(x: NDArray[Any]) -> bool:
    """Whether examples look like pictures: about as high as wide, or bytes."""
    short, long = sorted(x.shape[1:])
    if short < LEAST_SIDE:
        return False
    return long <= SQUARISH * short or _are_bytes(np.asarray(x[:LOOKED_AT]))


def _are_bytes(values: NDArray[Any]) -> bool:
    if values.dtype.kind not in "uif":
        return False
    whole = (values >= 0) & (values <= 255) & (values == np.floor(values))
    return bool(whole.all()) and values.max() > 100  # smaller numbers may be counts


def _may_have_channels_last(shape: tuple[int, ...]) -> bool:
    _, a, b, c = shape
    return c in CHANNELS and not (a in CHANNELS and b == c)
