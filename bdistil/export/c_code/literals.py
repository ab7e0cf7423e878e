"""Numbers, texts and names as C writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np

WIDTH = 100


def float_literal(value: float) -> str:
    """A float constant; nine digits give every float32 back."""
    value = float(np.float32(value))
    if not math.isfinite(value):
        return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"


def string_literal(text: str) -> str:
    """A string constant in UTF-8; whatever is not plain is written as octal digits."""
    plain = set(range(32, 127)) - set(b'"\\?')  # two question marks begin a trigraph
    written = "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode())
    return f'"{written}"'


def array(declaration: str, literals: Iterable[str]) -> str:
    """An array of constants, as lines of :data:`WIDTH` where no constant is longer."""
    lines: list[str] = []
    for literal in literals:  # not textwrap, which would break lines at the spaces of a text
        if lines and len(lines[-1]) + len(literal) + 2 < WIDTH:
            lines[-1] += f" {literal},"
        else:
            lines.append(f"    {literal},")
    body = "\n".join(lines).removesuffix(",")
    return f"static const {declaration} = {{\n{body}\n}};"


def identifier(name: str) -> str:
    """A name with what C does not take in names replaced."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)
