"""The answers about the state of models: Model Server's to /v1/config, and that of probes."""

from typing import Any, Literal

from pydantic import BaseModel, RootModel

__all__ = ["Findings", "ModelStatus", "ModelStatuses", "NotReady", "VersionStatus"]


class VersionStatusCode(BaseModel):
    """Model Server's words for whether a version works."""

    error_code: Literal["OK", "FAILED_PRECONDITION"]
    error_message: Literal["OK", "FAILED_PRECONDITION"]


class Unloaded(BaseModel):
    """Why and when (UTC) a version was unloaded."""

    reason: str
    at: str


class VersionStatus(BaseModel):
    """The state of a version of a model.

    `reason` says why it cannot serve, or, where it can, why what changed could not be loaded.
    `nodes` is what the nodes of its graph tell of themselves, by their names. The others are there
    where models may be unloaded while they are available; `memory_bytes` is what it took when it
    was loaded last.
    """

    version: str
    state: Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
    status: VersionStatusCode
    reason: str | None = None
    nodes: dict[str, dict[str, Any]] | None = None
    loaded: bool | None = None
    group_name: str | None = None
    memory_bytes: int | None = None
    unloaded: Unloaded | None = None


class ModelStatus(BaseModel):
    """The versions of a model."""

    model_version_status: list[VersionStatus]


class ModelStatuses(RootModel[dict[str, ModelStatus]]):
    """Every configured model by its name."""


class NotReady(BaseModel):
    """Why the server is not ready, and the reason of each model that cannot serve."""

    error: str
    models: dict[str, str]


class Findings(BaseModel):
    """What a check of the configuration found of each model: a problem, or null."""

    models: dict[str, str | None]
