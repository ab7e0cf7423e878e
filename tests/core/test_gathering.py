"""Results of consecutive rows in one tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdistil.core.connections import Hidden
from bdistil.core.gathering import Gathered, GatheredHidden

lengths = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@given(lengths, st.sampled_from([(), (3,), (2, 2)]), st.sampled_from([torch.float32, torch.int64]))
def test_the_pieces_are_there_in_order(
    sizes: list[int], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    pieces = [torch.randint(9, (size, *shape)).to(dtype) for size in sizes]
    gathered = Gathered(sum(sizes))
    for piece in pieces:
        gathered.add(piece)
    assert gathered.tensor.dtype == dtype
    assert torch.equal(gathered.tensor, torch.cat(pieces))


def test_rows_that_are_missing_are_not_made_up() -> None:
    gathered = Gathered(3)
    gathered.add(torch.zeros(2, 1))
    with pytest.raises(AssertionError, match="2 of 3 rows"):
        _ = gathered.tensor


@pytest.mark.parametrize("memory", [False, True])
def test_hidden_states_keep_what_their_connection_has(memory: bool) -> None:
    whole = Hidden(torch.randn(4, 2), torch.randn(4, 3) if memory else None)
    gathered = GatheredHidden(4)
    for rows in (slice(0, 3), slice(3, 4)):
        part = None if whole.memory is None else whole.memory[rows]
        gathered.add(Hidden(whole.features[rows], part))
    found = gathered.hidden
    assert torch.equal(found.features, whole.features)
    assert (found.memory is None) == (whole.memory is None)
    assert whole.memory is None or torch.equal(found.memory, whole.memory)  # type: ignore[arg-type]
