"""The models that come with the package, ready to serve."""

from pathlib import Path

__all__ = ["find_bundled_model"]

BUNDLED_MODELS = Path(__file__).parents[1] / "bundled_models"


def find_bundled_model(name: str) -> Path | None:
    """The folder of the bundled model with this name, or None."""
    folders = [path for path in BUNDLED_MODELS.iterdir() if path.is_dir()]
    return next((folder for folder in folders if folder.name == name), None)
