"""What was read and how: said before a search, kept in its run and shown in its report."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from bdistil.errors import CheckpointError
from bdistil.files.wording import some
from bdistil.names import METRIC, Domain, Task
from bdistil.store.durable import read_file

SHAPES: dict[Domain, str] = {
    "tabular": "{} features",
    "image": "{} x {} x {} (channels x height x width)",
    "sequence": "{} steps of {} features",
}
SHOWN_CLASSES = 20


class ColumnNote(BaseModel):
    """A column, what it holds and what was made of it.

    Attributes:
        name: the column's name.
        use: such as "number", "categories, one-hot" or "left out: row numbers".
    """

    model_config = ConfigDict(frozen=True)

    name: str
    use: str


class DataCard(BaseModel):
    """What a data set is and how it came about.

    Attributes:
        source: where it was read.
        domain: tabular, image or sequence.
        task: classification, regression or multilabel.
        input_shape: shape of one example.
        splits: rows of train, validation and test.
        how: how the splits came about.
        classes: of each class or label its rows in train, validation and test.
        guess: the best answers without features, in words.
        guess_metric: what they score on test, in the task's metric; None where it says nothing,
            as R² of targets that are all alike there.
        columns: of a table.
        form: what photographs or recordings became: `medium`, and the fields of its form.
        notes: what else a reader should know.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    domain: Domain
    task: Task
    input_shape: tuple[int, ...]
    splits: dict[str, int]
    how: str
    classes: dict[str, tuple[int, int, int]] | None
    guess: str
    guess_metric: float | None
    columns: tuple[ColumnNote, ...] = ()
    form: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_the_domains_shape(self) -> DataCard:
        if len(self.input_shape) != SHAPES[self.domain].count("{}"):
            raise ValueError(f"input_shape {self.input_shape} is not of domain {self.domain}")
        return self

    @property
    def rows(self) -> int:
        """Examples in all splits."""
        return sum(self.splits.values())

    def lines(self) -> list[str]:
        """For people: one line for each thing to know."""
        shape = SHAPES[self.domain].format(*self.input_shape)
        splits = ", ".join(f"{count:,} {name}" for name, count in self.splits.items())
        noun = "series" if self.columns and self.domain == "sequence" and not self.form else "rows"
        lines = [f"{self.source}: {self.rows:,} {noun}, {self.domain} with {shape}, {self.task}"]
        if self.classes is not None:
            counts = [f"{name} {sum(rows):,}" for name, rows in self.classes.items()]
            lines.append(f"classes: {some(counts, SHOWN_CLASSES)}")
        lines.append(f"splits: {splits}; {self.how}")
        if self.guess_metric is not None:
            lines.append(f"to beat: {self.guess}, {METRIC[self.task]} {self.guess_metric:.4f}")
        for use, names in self._names_by_use().items():
            lines.append(f"{use}: {some(names)}")
        return [*lines, *self.notes]

    def _names_by_use(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = defaultdict(list)
        for column in self.columns:
            names[column.use].append(column.name)
        return names

    def __str__(self) -> str:
        return "\n  ".join(self.lines())


def stored_card(file: Path) -> DataCard | None:
    """The card that a run keeps; None if it is older than cards.

    Raises:
        CheckpointError: if the file is damaged.
    """
    try:
        return DataCard.model_validate_json(read_file(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise CheckpointError(f"{file} is damaged; delete it.") from None
