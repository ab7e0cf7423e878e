"""How far an ensemble is from its teacher at worst: max|F_t - g| on the training split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.progressive_ensemble import ProgressiveEnsemble, chunks
from bdistil.core.tensors import as_tensor
from bdistil.data.dataset import Dataset
from bdistil.searching.problem import training_shards


@torch.no_grad()
def sup_norms(
    ensemble: ProgressiveEnsemble, dataset: Dataset, tables: Mapping[str, NDArray[np.float32]]
) -> dict[str, list[float]]:
    """For each table of logits (N, L) of the training split, max|F_t - table| of every stage."""
    largest = {name: torch.zeros(len(ensemble)) for name in tables}
    start, anyone = 0, next(iter(tables.values()))
    for part in training_shards(dataset, {"train": anyone}):
        for rows in chunks(len(part)):
            stages = torch.stack(list(ensemble.stages(as_tensor(part.inputs[rows]))))
            place = slice(start + rows.start, start + rows.stop)
            for name, table in tables.items():
                gaps = (stages - as_tensor(table[place])).abs().amax(dim=(1, 2))
                largest[name] = torch.maximum(largest[name], gaps)
        start += len(part)
    return {name: values.tolist() for name, values in largest.items()}
