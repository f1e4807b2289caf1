import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.warm_python.launcher import WARM_PYTHON

from export_models.conversion.tool import ToolResult
from export_models.export_model import main

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "export_models" / "export_model.py"

TEXT_PARTS = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")
HIDDEN, MLP, KV, NUM_LAYERS = 64, 128, 32, 2
CHAT_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"

RunExport = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_export(tmp_path: Path) -> RunExport:
    """Run the script as a user does, in a folder of its own."""

    def run(*arguments: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        # What has asked no Hub when it was imported never does.
        python = sys.executable if "HF_ENDPOINT" in os.environ else WARM_PYTHON.executable
        command = [python, str(SCRIPT), "text_generation", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, **kwargs
        )

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama in Hugging Face's format."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    make_checkpoint(folder)
    return folder


def make_checkpoint(folder: Path) -> None:
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and looked at the moon"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    vocab_size = tokenizer.get_vocab_size()
    save_file(_weights(vocab_size), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(
        folder / "config.json",
        architectures=["LlamaForCausalLM"],
        model_type="llama",
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=vocab_size,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        torch_dtype="float32",
    )
    write_json(
        folder / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT_TEMPLATE,
    )
    write_json(folder / "generation_config.json", eos_token_id=1, max_new_tokens=7)


def write_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(values))


def _weights(vocab_size: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return generator.normal(0, 0.05, (rows, columns)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": matrix(vocab_size, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
    }
    shapes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (KV, HIDDEN),
        "self_attn.v_proj": (KV, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (MLP, HIDDEN),
        "mlp.up_proj": (MLP, HIDDEN),
        "mlp.down_proj": (HIDDEN, MLP),
    }
    for i in range(NUM_LAYERS):
        layer = f"model.layers.{i}"
        weights |= {f"{layer}.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
    return weights


@pytest.fixture
def make_model() -> Callable[..., Path]:
    """Makes a folder whose files have the look of a complete OpenVINO model.

    `matrix` are attributes of its one constant.
    """

    def make(folder: Path, matrix: str = "", parts: Sequence[str] = TEXT_PARTS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            (folder / part).parent.mkdir(exist_ok=True)
            data = f'<layer type="Const"><data offset="8" size="8" {matrix}/></layer>'
            (folder / f"{part}.xml").write_text(f"<net><layers>{data}</layers></net>")
            (folder / f"{part}.bin").write_bytes(bytes(16))
        return folder

    return make


class FakeConverter:
    """Stands in for the process that converts; `fail` is raised, or `log` ends in an exit code."""

    def __init__(self, make_model: Callable[..., Path]) -> None:
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.fail: BaseException | None = None
        self.log = ""
        self.samples: list[object] = []
        self.make_model = make_model

    def __call__(
        self, command: list[str], environment: dict[str, str], on_output: object
    ) -> object:
        self.commands.append(command)
        self.environments.append(environment)
        if self.log:
            return ToolResult(1, self.log, Path("the.log"))
        if "--samples" in command:
            self.samples = json.loads(Path(command[command.index("--samples") + 1]).read_text())
        if "config.json" in command:
            folder = Path(command[-1])
            folder.mkdir(parents=True)
            write_json(folder / "config.json", model_type="llama")
            return ToolResult(0, "", Path("the.log"))
        if command[1].endswith((".calibration_tokens", ".sample_answers")):
            return ToolResult(0, "", Path("the.log"))
        is_quantization = command[1].endswith(".full_quantization")
        folder = self.make_model(Path(command[2 if is_quantization else -1]))
        (folder / "run.txt").write_text(str(len(self.commands)))
        if self.fail:
            raise self.fail
        return ToolResult(0, "", Path("the.log"))


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., Path]) -> FakeConverter:
    fake = FakeConverter(make_model)
    monkeypatch.setattr("export_models.conversion.converter.run_tool", fake)
    # What it makes are empty files.
    monkeypatch.setattr("export_models.text_generation.ModelVerifier.verify", lambda *_: None)
    monkeypatch.setattr("export_models.text_encoders.EncoderVerifier.verify", lambda *_: None)
    monkeypatch.setattr("export_models.export_run.find_refusal", lambda *_: None)
    return fake


@pytest.fixture
def export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Run `main` in an empty folder; returns the exit code and what was printed."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: object, task: str = "text_generation") -> tuple[int, str]:
        try:
            code = main([task, *map(str, arguments)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
