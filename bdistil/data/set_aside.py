"""Columns that can teach nothing, or nothing but the order of the file: left out unless named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bdistil.data.learn_columns import MOST_CATEGORIES, are_dates
from bdistil.data.lists import holds_numbers, is_nested

if TYPE_CHECKING:
    import pandas as pd

FEWEST_ROWS = 20
"""Below, numbers may well be consecutive and texts all different by chance."""
NEITHER = (
    "files that are neither photographs (JPEG, PNG, WebP) nor recordings (WAV, FLAC, MP3, Ogg)"
)
SAME = "the same in every row"
NAMED_AS_IDENTIFIER = re.compile(r"(?i:(^|[ _.-])(id|ids|uuid|guid|key|index)$)|[a-z]I[dD]$")
NAMED_AS_ID = re.compile(r"(?i:(^|[ _.-])(id|ids|uuid|guid)$)|[a-z]I[dD]$")
LIST_AS_TEXT = re.compile(r"\s*\[\s*[-+\d.eE]+([,;\s]+[-+\d.eE]+)+[,;\s]*\]\s*")
MOSTLY = 0.5
"""Share of the rows that have values of their own, above which a text is hardly a category."""


def reason_to_set_aside(values: pd.Series[Any]) -> str | None:
    """Why a column is no feature, in words; None if it may be one.

    Row numbers are whole numbers without a gap, in any order: sorted by class they would give the
    class away in training and mean nothing afterwards. Whole numbers that differ in each row are
    identifiers if their column is named as one, texts that do always; so are both if they differ
    in most rows, and texts are more than can be told apart as categories.
    """
    if is_nested(values):
        if holds_numbers(values):
            return "lists of numbers, which data.layout says how to read (vector, sequence)"
        return NEITHER if _are_files(values) else "lists or structures, which are no features"
    different = values.nunique(dropna=False)
    if different == 1:
        return SAME
    if len(values) < FEWEST_ROWS or different <= MOSTLY * len(values):
        return None
    if values.dtype.kind in "iu":
        return _reason_of_whole_numbers(values, different)
    texts = values.dropna()
    if len(texts) and all(isinstance(v, str) and LIST_AS_TEXT.fullmatch(v) for v in texts):
        return "lists written as text; Parquet and JSON keep lists"
    is_text = values.dtype.kind in "OSU" and all(isinstance(value, str) for value in texts)
    if not is_text or looks_like_numbers(texts) or are_dates(texts):
        return None
    if different == len(values) == len(texts):
        return "identifiers, another text in each row"
    if different <= MOST_CATEGORIES:
        return None
    return f"{different:,} different texts in {len(values):,} rows"


def _reason_of_whole_numbers(values: pd.Series[Any], different: int) -> str | None:
    every = different == len(values)
    if every and int(values.max()) - int(values.min()) + 1 == len(values):
        return "row numbers"
    named = NAMED_AS_IDENTIFIER if every else NAMED_AS_ID
    if named.search(str(values.name)) is None:
        return None
    return f"identifiers, another number in {'each row' if every else 'most rows'}"


def _are_files(values: pd.Series[Any]) -> bool:
    """Whether the values are as data sets of the Hugging Face hub keep whole files."""
    return all(isinstance(value, dict) and "bytes" in value for value in values.dropna())


def looks_like_numbers(values: pd.Series[Any]) -> bool:
    """Whether most texts would be numbers in some notation; they are refused with the remedy."""
    return (
        sum(
            any(sign.isdigit() for sign in text) and not any(sign.isalpha() for sign in text)
            for text in values
        )
        > len(values) / 2
    )
