"""Text that looks like numbers is refused with the remedy, never silently one-hot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bdistil.data.table import load_table
from bdistil.errors import DataError
from bdistil.spec import DataSpec

ROWS = 90
NUMBERS = np.random.default_rng(0).normal(size=ROWS).round(2) * 1000
NOTATIONS = {
    "decimal comma": lambda value: f"{value / 1000:.1f}".replace(".", ","),
    "per cent": lambda value: f"{abs(value):.0f}%",
    "thousands": lambda value: f"{abs(value) + 1000:,.0f}",
    "euros": lambda value: f"{abs(value):.2f} €",
}


def spec_of(folder: Path, column: list[str]) -> DataSpec:
    frame = pd.DataFrame({"a": column, "b": NUMBERS, "y": np.where(NUMBERS > 0, "ja", "nein")})
    frame.to_csv(folder / "t.csv", index=False, sep=";")
    return DataSpec(path=folder / "t.csv", label="y")


@pytest.mark.parametrize("notation", NOTATIONS)
def test_numbers_in_another_notation(tmp_path: Path, notation: str) -> None:
    column = [NOTATIONS[notation](value) for value in NUMBERS]
    with pytest.raises(DataError, match=r"column 'a' .*(another notation|looks like numbers)"):
        load_table(spec_of(tmp_path, column), seed=0)


@pytest.mark.parametrize("notation", ["%d.%m.%Y", "%m/%d/%Y", "%d-%m-%y", "%Y/%m/%d %H:%M"])
def test_dates_in_another_notation(tmp_path: Path, notation: str) -> None:
    days = pd.Timestamp("2026-01-31") + pd.to_timedelta(np.arange(ROWS) % 50, "D")
    with pytest.raises(DataError, match=r"column 'a' holds dates in another notation, such as"):
        load_table(spec_of(tmp_path, list(days.strftime(notation))), seed=0)


@pytest.mark.parametrize("odd", ["n/a?", "-", "unknown"])
def test_one_text_among_numbers(tmp_path: Path, odd: str) -> None:
    column = [odd, *map(str, NUMBERS[1:])]
    with pytest.raises(DataError, match=r"looks like numbers but holds .* in row 0"):
        load_table(spec_of(tmp_path, column), seed=0)


@pytest.mark.parametrize("words", [["3a", "4b", "c"], ["007", "008", "00A"], ["1-2", "2-3", "3-4"]])
def test_categories_with_digits_stay_categories(tmp_path: Path, words: list[str]) -> None:
    dataset = load_table(spec_of(tmp_path, words * (ROWS // 3)), seed=0)
    assert dataset.columns is not None
    assert dataset.columns.features[0].categories == tuple(sorted(words))
