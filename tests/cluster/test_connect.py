"""What people read when Ray itself does not come up."""

from __future__ import annotations

import pytest
import ray

from bdistil.cluster.connect import connect
from bdistil.errors import ClusterError


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            Exception("The current node timed out during startup. This could happen because ..."),
            r"Ray did not start within its 30 s.*workers\.count=0",
        ),
        (ConnectionError("refused"), r"no Ray cluster answers at this machine \(refused\)"),
    ],
)
def test_a_ray_that_does_not_start_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def fail(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ClusterError, match=sentence):
        connect(None, verbose=False)
