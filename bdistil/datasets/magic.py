"""MAGIC gamma telescope, fetched from OpenML by scikit-learn once and kept by it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bdistil.data.assemble import assemble
from bdistil.data.dataset import Dataset
from bdistil.data.split import split_indices
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import VARIABLE, default_root
from bdistil.errors import DataError
from bdistil.optional import advice_if_missing, require

OPENML_ID = 1120
FEATURES = 10
ROW_NUMBER = "ID"


def _advice() -> str | None:
    kept = default_root() / "openml"
    if any(kept.rglob(f"{OPENML_ID}.gz")):
        return advice_if_missing("sklearn", "search")
    return (
        f"MAGIC is missing: the first search fetches it from openml.org and keeps it in {kept} "
        f"(another folder: data.options.root or {VARIABLE})."
    )


@register_dataset(
    "magic",
    domain="tabular",
    input_shape=(FEATURES,),
    classes=2,
    examples=19_020,
    source="OpenML: showers seen by a gamma telescope",
    advice=_advice,
)
def magic(seed: int, validation: float, test: float, root: Path | None = None) -> Dataset:
    """Gamma rays against hadrons, by ten parameters of the shower's image.

    Args:
        seed: of the split.
        validation: share kept for validation.
        test: share kept for test.
        root: folder of local data; scikit-learn keeps its download there in `openml`.
    """
    bunch = _fetch(default_root() if root is None else root.expanduser())
    kept = [column for column, name in enumerate(bunch.feature_names) if name != ROW_NUMBER]
    names, y = np.unique(np.asarray(bunch.target, str), return_inverse=True)
    if len(kept) != FEATURES or len(names) != 2:
        raise DataError(
            f"OpenML's data set {OPENML_ID} has {len(kept)} features and {len(names)} classes, but "
            f"MAGIC has {FEATURES} and 2; give the data as a file with data.path."
        )
    x, codes = np.asarray(bunch.data, np.float32)[:, kept], y.astype(np.int64)
    classes = tuple(map(str, names))
    indices = split_indices(codes, classes, validation=validation, test=test, seed=seed)
    return assemble("magic", "tabular", x, codes, indices, class_names=classes)


def _fetch(root: Path) -> Any:
    datasets = require("sklearn.datasets", "search")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of retries; what is wrong in the end is said below
            return datasets.fetch_openml(
                data_id=OPENML_ID, data_home=root, as_frame=False, parser="liac-arff", n_retries=1
            )
    except Exception as error:  # without network, or with a damaged download: any kind
        detail = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"MAGIC is not in {root / 'openml'} and cannot be fetched from openml.org ({detail}); "
            "connect to the network once, or give the data as a file with data.path."
        ) from None
