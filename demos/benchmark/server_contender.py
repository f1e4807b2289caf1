"""This project's server as users run it: a real process, a config.json and a graph.pbtxt."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contender import MODEL_NAME, Launch, OpenAIDialect

from export_models.graph_text import TextGenerationGraph

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE_STATS = re.compile(r"engine stats: (\{.*\})")


@dataclass(frozen=True)
class StepStats:
    """What the engine counted from its start to its end."""

    num_steps: int
    step_s: float
    infer_s: float
    schedule_s: float
    sample_s: float
    tokens: int

    @property
    def host_ms_per_step(self) -> float:
        """Milliseconds of an average step in which the model does not run."""
        return 1000 * (self.step_s - self.infer_s) / max(1, self.num_steps)

    @property
    def host_share(self) -> float:
        """The part of all step time in which the model does not run, from 0 to 1."""
        return (self.step_s - self.infer_s) / self.step_s if self.step_s else 0.0


def parse_step_stats(log: str) -> StepStats | None:
    """Find the last `engine stats: {...}` line of a server's log."""
    matches = ENGINE_STATS.findall(log)
    if not matches:
        return None
    fields = json.loads(matches[-1])
    return StepStats(**{name: fields[name] for name in StepStats.__dataclass_fields__})


@dataclass(frozen=True)
class ServerContender:
    """`server --config_path`. None leaves a setting at the server's default."""

    model_path: Path
    plugin_config: Mapping[str, Any] = field(default_factory=dict)
    max_num_batched_tokens: int | None = None
    max_num_seqs: int = 256
    cache_size_gb: int = 2
    flags: Sequence[str] = ()
    name: str = "server"
    dialect = OpenAIDialect("/v3/completions")

    def find_missing(self) -> str | None:
        """Nothing: it is this project."""
        return None

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """Write a graph.pbtxt and config.json that serve the model from its own folder."""
        graph = TextGenerationGraph(
            models_path=str(self.model_path.resolve()),
            plugin_config=self.plugin_config,
            cache_size=self.cache_size_gb,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
        )
        (folder / "graph.pbtxt").write_text(graph.text())
        models = [{"name": MODEL_NAME, "base_path": str(folder)}]
        config = {"model_config_list": [], "mediapipe_config_list": models}
        config_path = folder / "config.json"
        config_path.write_text(json.dumps(config))
        return Launch(
            [
                *(sys.executable, "-m", "server", "--config_path", str(config_path)),
                *("--rest_bind_address", "127.0.0.1", "--rest_port", str(port)),
                # The engine says what it counted at DEBUG.
                *("--log_level", "DEBUG", "--access_log", "off"),
                *self.flags,
            ],
            {"PYTHONPATH": str(REPOSITORY)},
        )

    def describe(self) -> dict[str, object]:
        """Its settings."""
        return asdict(self)
