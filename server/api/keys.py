"""What the handlers find in the application."""

from aiohttp import web

from server.models.model_manager import ModelManager

__all__ = ["MODEL_MANAGER"]

MODEL_MANAGER = web.AppKey("model_manager", ModelManager)
