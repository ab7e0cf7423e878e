"""Small files of a user's own: photographs, recordings and tables."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

COLOURS = {"cherry": (230, 10, 10), "leaf": (10, 230, 10), "sky": (10, 10, 230)}


def shared(name: str) -> Path:
    """A file of the folder `shared` beside the checkout, or of BDISTIL_SHARED; skips without."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("BDISTIL_SHARED", beside)) / name
    if not path.exists():
        pytest.skip(f"{name} is not there")
    return path


def photograph(name: str, number: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """A plain photograph of a class's colour, each number a little different."""
    colour = tuple(min(255, value + 2 * number) for value in COLOURS[name])
    return Image.new("RGB", size, colour)


def write_photographs(
    folder: Path, count: int = 6, suffix: str = ".png", size: tuple[int, int] = (24, 24)
) -> Path:
    """`count` photographs of each class."""
    for name in COLOURS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            photograph(name, number, size).save(folder / name / f"{number:02d}{suffix}")
    return folder


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    """A tone, float64 (samples,)."""
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


PITCHES = {"low": 400.0, "high": 2000.0}


def write_recordings(
    folder: Path, count: int = 8, suffix: str = ".wav", rate: int = 8_000, channels: int = 1
) -> Path:
    """`count` tones of each class, from .2 s on, each a little longer and higher than the last."""
    soundfile = pytest.importorskip("soundfile")
    for name, hertz in PITCHES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            wave = tone(hertz * (1 + number / 100), 0.2 + number / 100, rate)
            path = folder / name / f"{number:02d}{suffix}"
            soundfile.write(path, np.stack([wave] * channels, axis=1), rate)
    return folder


def encoded(image: Image.Image) -> bytes:
    """A photograph as PNG."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def cells(contents: list[bytes]) -> pa.Array:
    """Contents as data sets of the Hugging Face hub keep them."""
    rows = [{"bytes": content, "path": f"{row}.png"} for row, content in enumerate(contents)]
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def write_hub_table(path: Path, count: int = 18, start: int = 0, **columns: Any) -> Path:
    """Photographs with codes for their classes, as the hub keeps them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(COLOURS)
    rows = range(start, start + count)
    images = [encoded(photograph(names[row % 3], row)) for row in rows]
    table = pa.table({"image": cells(images), "label": [row % 3 for row in rows], **columns})
    info = '{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": '
    info += '["cherry", "leaf", "sky"], "_type": "ClassLabel"}}}}'
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), path, row_group_size=5)
    return path
