"""With the real tools; a conversion takes several seconds, so there are few."""

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.engine_helpers import change_config

from export_models.model_files import find_missing_part
from server.engine.model.model_loader import load_model
from server.host.cpu_features import has_int8_amx
from server.models.config import load_config
from server.models.model_folder import LLM_FILES

NUM_LAYERS = 2  # of the checkpoint
SCRIPT = Path(__file__).resolve().parents[2] / "export_models" / "export_model.py"


@pytest.fixture(scope="module")
def layer_types() -> Callable[[Path], Counter[str]]:
    """The kinds of nodes that the plugin runs for an exported model, served as its graph says."""

    def find(model: Path) -> Counter[str]:
        text = (model / "graph.pbtxt").read_text()
        plugin_config = json.loads(re.search("plugin_config: '(.*)'", text)[1])
        nodes = load_model(model, "CPU", plugin_config).layers.get_runtime_model().get_ordered_ops()
        return Counter(node.get_rt_info()["layerType"].astype(str) for node in nodes)

    return find


def test_an_architecture_that_optimum_does_not_know(
    run_export, checkpoint: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source" / "tiny"
    shutil.copytree(checkpoint, source)
    # Its weights have the names of Llama's.
    keys = {"model_type": "ministral", "architectures": ["MinistralForCausalLM"]}
    change_config(source, **keys, head_dim=16)
    result = run_export("--source_model", source)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "models" / "tiny" / ".verified.json").read_text())
    assert record["passed"]


def test_export_int8(run_export, checkpoint: Path, tmp_path: Path, layer_types) -> None:
    result = run_export("--source_model", checkpoint, "--kv_cache_precision", "u8")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "compressing the weights" in result.stdout
    model = tmp_path / "models" / "tiny"
    assert find_missing_part(model, LLM_FILES) is None
    assert 'KV_CACHE_PRECISION": "u8"' in (model / "graph.pbtxt").read_text()
    assert "role" in (model / "chat_template.jinja").read_text()
    assert json.loads((model / "generation_config.json").read_text())["max_new_tokens"] == 7
    assert '"openvino_' not in (model / "tokenizer_config.json").read_text()
    record = json.loads((model / ".verified.json").read_text())
    assert (record["passed"], record["source"]["precision"]) == (True, "compressed")
    assert 0 < record["source"]["mean_difference"] < 0.1
    assert (record["tokenizer"]["num_wrong"], record["tokenizer"]["faults"]) == (0, [])
    assert "with compressed weights, log probabilities differ by at most" in result.stdout
    assert layer_types(model)["LLMMLP"] == (NUM_LAYERS if has_int8_amx() else 0)
    [served] = load_config(tmp_path / "config.json").models
    assert served.find_graph() == model / "graph.pbtxt"
    assert [item.name for item in (tmp_path / "models").iterdir()] == ["tiny"]


def test_export_fp16_is_compared_with_its_source(run_export, checkpoint: Path, tmp_path) -> None:
    source = tmp_path / "source"
    shutil.copytree(checkpoint, source)
    export = ["--source_model", source, "--weight-format", "fp16", "--config_file_path"]
    result = run_export(*export, "first.json")
    assert result.returncode == 0, result.stderr
    model = tmp_path / "models" / "source"
    text = (model / "openvino_model.xml").read_text()
    frequencies = re.search(r'<data element_type="(\w+)" shape="1,\s?8,\s?1"', text)
    assert frequencies[1] == "f32", "rounded frequencies of rope are wrong ones in long texts"
    record = json.loads((model / ".verified.json").read_text())
    assert record["source"]["precision"] == "f16"
    assert record["source"]["longest"] == 300
    assert record["source"]["max_difference"] < 1e-4

    # The same model is not that of another source.
    spoil(source / "model.safetensors", "model.layers.1.mlp.down_proj.weight")
    (model / ".verified.json").unlink()
    result = run_export(*export, "second.json")
    assert result.returncode == 1
    assert "compared with its source in torch: from token " in result.stderr
    assert "the model is not listed" in result.stderr
    assert "serve it" not in result.stdout
    assert not (tmp_path / "second.json").exists()


def spoil(file: Path, name: str) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(file)
    weights[name] *= -3
    save_file(weights, file, metadata={"format": "pt"})


def test_extra_parameters_reach_the_converter(run_export, checkpoint: Path, tmp_path) -> None:
    """Among them the one that leaves the tokenizer out, which is then made separately."""
    extra = "--group-size 32 --disable-convert-tokenizer"
    result = run_export(
        *("--source_model", checkpoint, "--model_name", "org/int4", "--weight-format", "int4"),
        *("--extra_quantization_params", extra),
    )
    assert result.returncode == 0, result.stderr
    model = tmp_path / "models" / "org" / "int4"
    assert find_missing_part(model, LLM_FILES) is None
    text = (model / "openvino_model.xml").read_text()
    assert 'element_type="u4"' in text or 'element_type="i4"' in text


def test_export_quantises_activations(run_export, checkpoint: Path, tmp_path, layer_types) -> None:
    messages = [{"role": "user", "content": "the cat sat on the mat"}]
    lines = [json.dumps({"messages": messages})]
    lines += [json.dumps({"text": text}) for text in ("looked at the moon", "is not looked at")]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    result = run_export(
        *("--source_model", checkpoint, "--quant_mode", "int8"),
        *("--calibration_file", "texts.jsonl", "--extra_quantization_params", "--num-samples 2"),
    )
    assert result.returncode == 0, result.stderr
    model = tmp_path / "models" / "tiny"
    assert find_missing_part(model, LLM_FILES) is None
    config = json.loads((model / "openvino_config.json").read_text())["quantization_config"]
    assert (config["bits"], config["num_samples"]) == (8, 2)
    assert not list(model.glob("quantized*"))
    types = layer_types(model)
    assert types["FullyConnected"] == 7 * NUM_LAYERS
    assert types["FakeQuantize"] == 4 * NUM_LAYERS


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b'{"model_type": "nonesuch"}', "the architecture 'nonesuch' is unknown"),
        ("model.safetensors", b"cut", "a file of weights cannot be read: SafetensorError"),
    ],
)
def test_unusable_checkpoint(
    run_export, checkpoint: Path, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    source = tmp_path / "broken"
    shutil.copytree(checkpoint, source)
    (source / file).write_bytes(content)
    check_failure(run_export("--source_model", source), tmp_path, message)


def test_weights_are_missing(run_export, checkpoint: Path, tmp_path: Path) -> None:
    """transformers would put random numbers in their places, and go on."""
    from safetensors.numpy import load_file, save_file

    source = tmp_path / "incomplete"
    shutil.copytree(checkpoint, source)
    weights = load_file(source / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    result = run_export("--source_model", source)
    assert result.returncode == 1
    assert "the checkpoint lacks weights" in result.stderr
    assert "model.layers.1.mlp.up_proj.weight" in result.stderr
    assert not list((tmp_path / "models").iterdir())


def test_full_disk(run_export, checkpoint: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: both make the same write fail."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = run_export("--source_model", checkpoint, preexec_fn=limit)
    check_failure(result, tmp_path, "the disk is full")


def check_failure(result: subprocess.CompletedProcess[str], folder: Path, message: str) -> None:
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    log = Path(result.stderr.rpartition(" is in ")[2].rstrip(")\n"))
    assert "Error" in log.read_text()
    log.unlink()
    assert not list((folder / "models").iterdir())
    assert not (folder / "config.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_while_it_converts(checkpoint: Path, tmp_path: Path, number: int) -> None:
    command = [sys.executable, str(SCRIPT), "text_generation", "--source_model", str(checkpoint)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    models = tmp_path / "models"
    try:
        wait_for(lambda: children_of(process.pid))
        converters = children_of(process.pid)
        process.send_signal(number)
        process.communicate(timeout=30)
    finally:
        process.kill()
    wait_for(lambda: not any(is_running(pid) for pid in converters))
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert process.returncode == expected[signal.Signals(number)]
    left = [item.name for item in models.iterdir()]
    assert len(left) == (1 if number == signal.SIGKILL else 0)
    assert all(name.startswith(".tiny.partial-") for name in left)


def wait_for(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_hub_that_cannot_be_reached(run_export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = run_export("--source_model", "OpenVINO/nothing")
    assert result.returncode == 1
    assert "the Hugging Face Hub has no such model or cannot be reached" in result.stderr


@pytest.fixture
def hub(tmp_path: Path, make_model):
    """As much of the Hub as a download needs, with one OpenVINO model."""
    files = {item.name: item.read_bytes() for item in make_model(tmp_path / "on_hub").iterdir()}
    commit = "0" * 40

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            if self.path.startswith("/api/models/OpenVINO/ready/"):
                siblings = [{"rfilename": name} for name in files]
                body = json.dumps({"id": "OpenVINO/ready", "sha": commit, "siblings": siblings})
                data = body.encode()
            else:
                data = files[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hash(self.path) & 0xFFFFFF:06x}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_openvino_model_of_the_hub_is_downloaded(
    run_export, hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    result = run_export("--source_model", "OpenVINO/ready", "--no_verify")
    assert result.returncode == 0, result.stderr
    model = tmp_path / "models" / "OpenVINO" / "ready"
    assert find_missing_part(model, LLM_FILES) is None
    assert (model / "graph.pbtxt").is_file()
    assert not (model / ".cache").exists()
