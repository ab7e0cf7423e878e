"""Records of a journal, made up."""

from __future__ import annotations

from bdistil.core.student import StudentConfig
from bdistil.runs.journal import RoundRecord
from bdistil.runs.trial import TrialRequest, TrialResult


def record(number: int, **figures: object) -> RoundRecord:
    """The record of a round, with some of its trial's figures given."""
    request = TrialRequest(
        round=number, number=0, rung=0, attempt=0, params={"recipe": "accurate"}, seed=1
    )
    result = TrialResult.model_validate({"request": request, "status": "finished"} | figures)
    return RoundRecord(
        round=number,
        student=StudentConfig("mlp", 4, "dense", True),
        file="",
        sha256="",
        margin_sha256="",
        result=result,
        trials=(result,),
        seconds=30.0,
    )
