"""What the handlers find in the application."""

from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from server.api.monitoring.monitor import Monitor
from server.api.monitoring.prepared_text import PreparedText
from server.models.model_manager import ModelManager

__all__ = ["LORA_FOLDER", "METRICS", "MODEL_MANAGER", "MONITOR", "RELOAD_SECRETS"]

MODEL_MANAGER = web.AppKey("model_manager", ModelManager)

METRICS = web.AppKey("metrics", PreparedText)

MONITOR = web.AppKey("monitor", Monitor)

RELOAD_SECRETS = web.AppKey[Callable[[], None]]("reload_secrets")
"""Reads the files of API keys and certificates again."""

LORA_FOLDER = web.AppKey[Path | None]("lora_folder")
"""Where adapters may be loaded from while the server runs; None for nowhere."""
