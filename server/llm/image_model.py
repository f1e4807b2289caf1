"""Images without a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from server.llm.graph_source import GraphKind
from server.llm.loaded_model import LoadedModel
from server.models.tasks import IMAGE_GENERATION
from server.payloads import ImageRequest, ImageResponse
from server.protocol.openai.images import make_request

__all__ = ["ImageModel"]


class ImageModel(LoadedModel):
    """A loaded image pipeline; it needs the extra [media]. See LoadedModel.

    The methods make one image after the other, also when several threads call them. `settings` are
    the fields of /images/generations, such as `size="512x512"`, `n=2`, `rng_seed=1` or
    `num_inference_steps=20`. `adapter` is the alias of a LoRA adapter.
    """

    kind = GraphKind("image pipeline", IMAGE_GENERATION, ImageRequest, ImageResponse)

    def generate(self, prompt: str, *, adapter: str = "", **settings: Any) -> list[bytes]:
        """Make images from a text; returns PNG files. Raises InvalidRequestError."""
        return self._make(prompt, adapter, settings)

    def edit(
        self,
        prompt: str,
        image: bytes | Path,
        mask: bytes | Path | None = None,
        *,
        adapter: str = "",
        **settings: Any,
    ) -> list[bytes]:
        """Change an image, with a mask only in its white or transparent parts; returns PNG files.

        `image` and `mask` are image files or their content. Raises InvalidRequestError.
        """
        content = None if mask is None else _content(mask)
        return self._make(prompt, adapter, settings, image=_content(image), mask=content)

    def _make(
        self, prompt: str, adapter: str, settings: Mapping[str, Any], **files: bytes | None
    ) -> list[bytes]:
        request = make_request({"model": adapter, "prompt": prompt, **settings}, **files)
        return list(cast(ImageResponse, self._run_one(request)).images)


def _content(file: bytes | Path) -> bytes:
    return file.read_bytes() if isinstance(file, Path) else file
