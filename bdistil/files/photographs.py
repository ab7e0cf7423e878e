"""Photographs of any size, in colour or grey, as arrays of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError
from bdistil.files.encoded import Encoded, Form, Medium
from bdistil.optional import require
from bdistil.spec import DataSpec

LARGEST = 96
"""Height and width up to which photographs of one size are kept as they are."""
SIDES = (64, 32, 16, 8)
"""Defaults for others: the largest that half of the photographs have."""
DEEP = "I;16"
ORIENTATION, TURNED = 274, (5, 6, 7, 8)  # EXIF: values by which height and width change places


class Size(NamedTuple):
    """Height and width in pixels, as the photograph is to be seen, and Pillow's mode."""

    height: int
    width: int
    mode: str

    @property
    def grey(self) -> bool:
        """Whether there are no colours."""
        return self.mode in ("1", "L", "LA") or self.mode.startswith(DEEP)


class PhotographForm(Form):
    """The one size and colour of all photographs, uint8 (channels, height, width)."""

    @classmethod
    def of(cls, height: int, width: int, channels: int, said: str = "") -> PhotographForm:
        """A form by its size."""
        return cls(shape=(channels, height, width), said=said)


@contextmanager
def _opened(file: Encoded) -> Iterator[Any]:
    images = require("PIL.Image", "vision")
    try:
        with images.open(file) as image:
            yield image
    except images.UnidentifiedImageError:
        raise DataError("no image that Pillow reads") from None
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
        raise DataError(str(error)) from None


def read_size(file: Encoded) -> Size:
    """The size of a photograph, from its header.

    Raises:
        DataError: if it is no image.
    """
    with _opened(file) as image:
        turned = image.getexif().get(ORIENTATION) in TURNED
        width, height = image.size[::-1] if turned else image.size
        return Size(height, width, image.mode)


def choose_form(sizes: Sequence[Size], spec: DataSpec) -> PhotographForm:
    """The form of all photographs: `data.size`, or the size that all have if that is small."""
    channels = 1 if all(size.grey for size in sizes) else 3
    extents = sorted({size[:2] for size in sizes}, key=lambda e: (e[0] * e[1], e))
    ends = dict.fromkeys((extents[0], extents[-1]))
    said = f"photographs: {' to '.join(f'{h} x {w}' for h, w in ends)} pixels, "
    said += "grey" if channels == 1 else "colour"
    if any(size.mode.startswith(DEEP) for size in sizes):
        said += ", of 16 bits the upper 8"
    if spec.size is None and len(extents) == 1 and max(extents[0]) <= LARGEST:
        return PhotographForm.of(*extents[0], channels, said)
    middle = np.median([min(size[:2]) for size in sizes])
    side = spec.size or next((side for side in SIDES if side <= middle), SIDES[-1])
    if extents != [(side, side)]:
        said += f", resized to {side} x {side} and cut at the centre (data.size)"
    return PhotographForm.of(side, side, channels, said)


def decode_photograph(file: Encoded, form: PhotographForm) -> NDArray[np.uint8]:
    """Pixels from 0 to 255, uint8 (channels, height, width).

    The photograph is turned as its EXIF data say, what is transparent becomes white, the image is
    resized so that its shorter side fits, then the centre is cut out.

    Raises:
        DataError: if it is damaged.
    """
    images, operations = require("PIL.Image", "vision"), require("PIL.ImageOps", "vision")
    channels, height, width = form.shape
    with _opened(file) as image:
        upright = operations.exif_transpose(image)
        if upright.mode.startswith(DEEP):  # or Pillow would clip
            upright = images.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            white = images.new("RGBA", upright.size, "white")
            upright = images.alpha_composite(white, upright)
        pixels = operations.fit(
            upright.convert("L" if channels == 1 else "RGB"),
            (width, height),
            method=images.Resampling.BILINEAR,
        )
    return np.asarray(pixels).reshape(height, width, channels).transpose(2, 0, 1)


PHOTOGRAPHS = Medium(
    noun="photograph",
    domain="image",
    suffixes=(".jpg", ".jpeg", ".png", ".webp"),
    magic=rb"\xff\xd8|\x89PNG|RIFF....WEBP",
    key="size",
    dtype=np.uint8,
    form=PhotographForm,
    header=read_size,
    choose=choose_form,
    decode=decode_photograph,
)
