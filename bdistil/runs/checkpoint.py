"""A checkpoint: the state of training as bytes, which travel and lie in a run's ``open/``.

They are a safetensors file, with what is no tensor as JSON in its metadata; never a pickle.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError

from bdistil.core.training_state import StateError, TrainingState
from bdistil.spec.mistakes import first_fault

METADATA_KEY = "bdistil.training"


@dataclass(frozen=True)
class Checkpoint:
    """Trials that one worker runs together, after an epoch.

    Attributes:
        epochs: trained; where trials train one after another, those of the one that was training.
        content: all of it, as safetensors.
    """

    epochs: int
    content: bytes

    @classmethod
    def of(cls, state: TrainingState) -> Checkpoint:
        """A state, ready to travel."""
        head = Head(epochs=state.epochs, seconds=state.seconds, values=dict(state.values))
        metadata = {METADATA_KEY: json.dumps(head.model_dump())}
        return cls(state.epochs, safetensors.torch.save(dict(state.tensors), metadata))

    def state(self) -> TrainingState:
        """The state again.

        Raises:
            StateError: if the content is damaged or something else.
        """
        try:
            head = Head.model_validate_json(_metadata(self.content)[METADATA_KEY])
            tensors = safetensors.torch.load(self.content)
        except ValidationError as error:
            raise StateError(first_fault(error)) from None
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StateError(" ".join(str(error).split())[:200]) from None
        return TrainingState(head.epochs, head.seconds, tensors, head.values)


class Head(BaseModel):
    """What is no tensor (see :class:`~bdistil.core.training_state.TrainingState`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    seconds: float
    values: dict[str, Any]


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found
