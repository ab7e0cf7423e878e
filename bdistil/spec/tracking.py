"""Where trials are shown besides in the run directory."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from bdistil.spec.mistakes import shown
from bdistil.spec.section import Section


class CallbackSpec(Section):
    """A logger of Ray Tune and its arguments."""

    name: Literal["tensorboard", "mlflow", "wandb"]
    options: dict[str, Any] = Field({}, description="arguments of Ray's callback")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

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


class TrackingSpec(Section):
    """Where trials are shown besides in the run directory."""

    callbacks: list[CallbackSpec] = Field(
        [], description="`tensorboard`, `mlflow` or `wandb`, as name or as {name, options}"
    )
    optuna_storage: str | None = Field(
        None, description="database URL of the Optuna study; null keeps it in optuna.journal"
    )

    @field_validator("optuna_storage")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and "://" not in url:
            raise ValueError(f"must be a URL such as sqlite:///study.db, not {shown(url)}")
        _refuse_password(url, "PGPASSWORD or use ~/.pgpass")
        return url
