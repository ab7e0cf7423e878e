"""Made-up documents that have several topics each: the multi-label data that are always there."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from bdistil.data.assemble import assemble
from bdistil.data.dataset import Dataset
from bdistil.data.split import split_indices
from bdistil.datasets.catalogue import register_dataset
from bdistil.optional import advice_if_missing, require

WORDS = 32
TOPICS = ("economy", "health", "law", "nature", "sports", "technology")

Examples = Annotated[int, Field(ge=12)]


@register_dataset(
    "documents",
    domain="tabular",
    input_shape=(WORDS,),
    classes=len(TOPICS),
    examples=4000,
    source="synthetic: word counts of documents with several topics",
    advice=partial(advice_if_missing, "sklearn", "search"),
    multilabel=True,
)
def documents(
    seed: int,
    validation: float,
    test: float,
    examples: Examples = 4000,
    topics: Annotated[int, Field(ge=0)] = 0,
) -> Dataset:
    """Counts of 32 words in documents, each of which has up to six topics (two on average).

    Args:
        seed: of the split.
        validation: share kept for validation.
        test: share kept for test.
        examples: number of documents in all.
        topics: seed of the topics' words and of the documents.
    """
    make = require("sklearn.datasets", "search").make_multilabel_classification
    x, y = make(examples, WORDS, n_classes=len(TOPICS), n_labels=2, length=300, random_state=topics)
    labels = y.astype(np.float32)
    indices = split_indices(labels, TOPICS, validation=validation, test=test, seed=seed)
    return assemble(
        "documents", "tabular", x.astype(np.float32), labels, indices, class_names=TOPICS
    )
