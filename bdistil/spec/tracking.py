"""Where trials are shown besides in the run directory."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator

from bdistil.spec.mistakes import shown
from bdistil.spec.section import Section

CallbackName = Literal["tensorboard", "mlflow", "wandb"]


class CallbackSpec(Section):
    """A logger of Ray Tune and its arguments."""

    name: CallbackName
    """of the logger"""
    options: dict[str, Any] = Field({})
    """arguments of Ray's callback"""

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            if key in SECRETS:
                raise ValueError(f"{key} would be written to the run; set {SECRETS[key]} instead")
            _refuse_password(value, "MLFLOW_TRACKING_PASSWORD")
        return options


SECRETS = {"api_key": "WANDB_API_KEY", "tracking_token": "MLFLOW_TRACKING_TOKEN"}


def _refuse_password(url: Any, instead: str) -> None:
    """The run directory keeps the spec, so it must not hold secrets."""
    if isinstance(url, str) and "://" in url and urlsplit(url).password:
        raise ValueError(f"a password would be written to the run; leave it out and set {instead}")


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Callback = Annotated[
    CallbackSpec, BeforeValidator(_by_name, json_schema_input_type=CallbackName | CallbackSpec)
]


class TrackingSpec(Section):
    """Where trials are shown besides in the run directory.

    May change from one run of the command to the next, like `workers`.
    """

    callbacks: list[Callback] = Field([])
    """loggers of Ray Tune: `tensorboard`, `mlflow`, `wandb`, by name or as
    `{name: mlflow, options: {experiment_name: mine}}`
    """
    optuna_storage: str | None = None
    """database of the Optuna study, such as `sqlite:///study.db` or `postgresql://user@host/optuna`;
    null keeps it in `optuna.journal`. Passwords come from PGPASSWORD or `~/.pgpass`
    """

    @field_validator("optuna_storage")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and "://" not in url:
            raise ValueError(f"must be a URL such as sqlite:///study.db, not {shown(url)}")
        _refuse_password(url, "PGPASSWORD or use ~/.pgpass")
        return url
