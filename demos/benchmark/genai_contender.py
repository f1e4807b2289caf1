"""openvino-genai's ContinuousBatchingPipeline, the engine inside OpenVINO Model Server."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contender import Launch, OpenAIDialect
from genai_server import GenaiSettings


@dataclass(frozen=True)
class GenaiContender:
    """The pipeline behind genai_server.py."""

    model_path: Path
    plugin_config: Mapping[str, Any] = field(default_factory=dict)
    max_num_batched_tokens: int = 256
    max_num_seqs: int = 256
    cache_size_gb: int = 2
    name: str = "openvino-genai"
    dialect = OpenAIDialect("/v1/completions")

    def find_missing(self) -> str | None:
        """The package."""
        if find_spec("openvino_genai") is None:
            return "pip install openvino-genai (the version of openvino), or this package's [bench]"
        return None

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """The script with its settings in a file."""
        settings = GenaiSettings(
            model_path=str(self.model_path),
            plugin_config=self.plugin_config,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            cache_size_gb=self.cache_size_gb,
        )
        path = folder / "settings.json"
        path.write_text(json.dumps(asdict(settings)))
        script = Path(__file__).with_name("genai_server.py")
        return Launch([sys.executable, str(script), "--settings", str(path), "--port", str(port)])

    def describe(self) -> dict[str, object]:
        """Its settings."""
        return asdict(self)
