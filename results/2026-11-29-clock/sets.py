"""The five teachers, and the shortest command that searches under each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class TeacherSet:
    """A data set with its teacher.

    Attributes:
        name: of the row.
        file: in the folder of data; one that `make_digits` writes for digits.
        teacher: for the table.
        words: what follows `bdistil search --data FILE`.
        kind: of its single students.
    """

    name: str
    file: str
    teacher: str
    words: tuple[str, ...] = field(default=("--label", "label"))
    kind: str = "mlp"

    @property
    def is_table(self) -> bool:
        """Whether scikit-learn's models are rivals."""
        return self.kind == "mlp"


FOREST = "sklearn.ensemble:RandomForestClassifier"
BOOSTING = "sklearn.ensemble:HistGradientBoostingClassifier"
PHOTOGRAPHS = "cifar10_photographs.parquet"
SETS = {
    each.name: each
    for each in (
        TeacherSet("digits", "digits.csv", "MLP 256-128, as the command chose"),
        TeacherSet(
            "penbased",
            "penbased.parquet",
            "forest of 500 trees",
            ("--label", "label", f"teacher.model={FOREST}", "teacher.options={n_estimators: 500}"),
        ),
        TeacherSet(
            "magic",
            "magic.parquet",
            "histogram boosting, 100 iterations",
            ("--label", "label", f"teacher.model={BOOSTING}"),
        ),
        TeacherSet(
            "spoken",
            "spoken_digits.parquet",
            "1-D convolutions, as the command chose",
            ("--label", "label", "data.group=speaker"),
            "cnn1d",
        ),
        TeacherSet("cifar10", PHOTOGRAPHS, "ResNet-56, public weights", kind="separable"),
    )
}


def make_photographs(data: Path) -> None:
    """The training images, every tenth of a class held out for validation, and the test images."""
    import pandas as pd

    train, test = (
        pd.read_parquet(data / "cifar10_jpeg" / f"{part}.parquet") for part in ("train", "test")
    )
    held_out = train.groupby("label").cumcount() % 10 == 9
    parts = (("train", train[~held_out]), ("validation", train[held_out]), ("test", test))
    frame = pd.concat([rows.assign(part=part) for part, rows in parts], ignore_index=True)
    frame.to_parquet(data / PHOTOGRAPHS)


def make_digits(folder: Path) -> Path:
    """scikit-learn's 1,797 images as a table."""
    import pandas as pd
    from sklearn.datasets import load_digits

    digits = load_digits()
    frame = pd.DataFrame(digits.data, columns=[f"p{i}" for i in range(64)])
    frame["label"] = digits.target
    path = folder / "digits.csv"
    frame.to_csv(path, index=False)
    return path
