"""The commands, graphs and refusals of the tasks other than text generation."""

import json
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.graph import parse_graph_config

WHISPER = ("openvino_encoder_model", "openvino_decoder_model")
SPEECHT5 = (*WHISPER, "openvino_postnet", "openvino_vocoder")
PIPELINE = ("unet/openvino_model", "vae_decoder/openvino_model", "text_encoder/openvino_model")
TOKENIZERS = ("openvino_tokenizer", "openvino_detokenizer")
BERT = {"model_type": "bert", "architectures": ["BertModel"]}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "safety_checker": [None, None],
}
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "embeddings_ov": ("config.json", BERT),
    "rerank_ov": ("config.json", {**BERT, "architectures": ["BertForSequenceClassification"]}),
    "speech2text": ("config.json", {"model_type": "whisper"}),
    "text2speech": ("config.json", {"model_type": "speecht5"}),
    "image_generation": ("model_index.json", INDEX),
}
PARTS = {
    "speech2text": (*WHISPER, *TOKENIZERS),
    "text2speech": (*SPEECHT5, *TOKENIZERS),
    "image_generation": PIPELINE,
}

Run = Callable[..., tuple[int, str]]


def write_source(task: str, folder: Path, **more: Any) -> Path:
    """What `export_model` looks at in a Hugging Face model of the task; no weights."""
    name, content = SOURCES[task]
    (folder / "unet").mkdir(parents=True)
    (folder / name).write_text(json.dumps({**content, **more}))
    for file in ("model.safetensors", "unet/model.safetensors", "tokenizer.json"):
        (folder / file).touch()
    return folder


@pytest.fixture
def run(export: Run, converter: Any, make_model: Callable[..., Path], tmp_path: Path) -> Run:
    """Export a made-up model `m` of a task with a converter that makes empty files."""

    def run_task(task: str, *flags: object, **more: Any) -> tuple[int, str]:
        source = tmp_path / "sources" / "m"
        if not source.exists():
            write_source(task, source, **more)
        parts = PARTS.get(task, ("openvino_model", "openvino_tokenizer"))
        converter.make_model = partial(make_pipeline, make_model, parts)
        if task == "text2speech" and "--vocoder" not in flags:
            flags = ("--vocoder", "org/vocoder", *flags)
        return export("--source_model", source, *flags, task=task)

    return run_task


def make_pipeline(make_model: Callable[..., Path], parts: tuple[str, ...], folder: Path) -> Path:
    make_model(folder, parts=parts)
    if parts == PIPELINE:
        (folder / "model_index.json").write_text(json.dumps(INDEX))
    return folder


def graph_of(name: str = "m") -> str:
    return (Path("models") / name / "graph.pbtxt").read_text()


# The node, its side packet and its options as OVMS's script writes them, in that order.
GRAPHS = {
    "embeddings_ov": """
        name: "EmbeddingsExecutor" calculator: "EmbeddingsCalculatorOV"
        input_stream: "REQUEST_PAYLOAD:input" output_stream: "RESPONSE_PAYLOAD:output"
        input_side_packet: "EMBEDDINGS_NODE_RESOURCES:embeddings_servable"
        node_options: { [type.googleapis.com / mediapipe.EmbeddingsCalculatorOVOptions]: {
            models_path: "./", plugin_config: '{"NUM_STREAMS": "1"}',
            normalize_embeddings: true, target_device: "CPU"
        } }""",
    "rerank_ov": """
        name: "RerankExecutor" calculator: "RerankCalculatorOV"
        input_stream: "REQUEST_PAYLOAD:input" output_stream: "RESPONSE_PAYLOAD:output"
        input_side_packet: "RERANK_NODE_RESOURCES:rerank_servable"
        node_options: { [type.googleapis.com / mediapipe.RerankCalculatorOVOptions]: {
            models_path: "./", plugin_config: '{"NUM_STREAMS": "1"}', target_device: "CPU"
        } }""",
    "image_generation": """
        name: "ImageGenExecutor" calculator: "ImageGenCalculator"
        input_stream: "HTTP_REQUEST_PAYLOAD:input" output_stream: "HTTP_RESPONSE_PAYLOAD:output"
        input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"
        node_options: { [type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {
            models_path: "./", device: "CPU",
        } }""",
    "text2speech": """
        name: "T2sExecutor" calculator: "T2sCalculator"
        input_stream: "HTTP_REQUEST_PAYLOAD:input" output_stream: "HTTP_RESPONSE_PAYLOAD:output"
        input_side_packet: "TTS_NODE_RESOURCES:t2s_servable"
        node_options: { [type.googleapis.com / mediapipe.T2sCalculatorOptions]: {
            models_path: "./", plugin_config: '{"NUM_STREAMS": "1"}', target_device: "CPU"
        } }""",
    "speech2text": """
        name: "S2tExecutor" calculator: "S2tCalculator"
        input_stream: "LOOPBACK:loopback" input_stream: "HTTP_REQUEST_PAYLOAD:input"
        output_stream: "LOOPBACK:loopback" output_stream: "HTTP_RESPONSE_PAYLOAD:output"
        input_side_packet: "STT_NODE_RESOURCES:s2t_servable"
        input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }
        input_stream_handler {
            input_stream_handler: "SyncSetInputStreamHandler",
            options { [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
                sync_set { tag_index: "LOOPBACK:0" } } }
        }
        node_options: { [type.googleapis.com / mediapipe.S2tCalculatorOptions]: {
            models_path: "./", plugin_config: '{"NUM_STREAMS": "1"}', target_device: "CPU",
            enable_word_timestamps: false,
        } }""",
}


def tokens_of(text: str) -> list[str]:
    """The options, in the order of the text, without commas."""
    options = text[text.index("Options]: {") :]
    return re.findall(r"'[^']*'|\"[^\"]*\"|[\w./-]+(?=:)|(?<=: )[\w.-]+|\w+(?= \{)", options)


@pytest.mark.parametrize("task", GRAPHS)
def test_the_graph_is_that_of_ovms(run: Run, task: str) -> None:
    code, printed = run(task)
    assert code == 0, printed
    text = graph_of()
    assert text.startswith("# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO\n")
    head = "HTTP_" if "HTTP_" in GRAPHS[task] else ""
    borders = (
        f'input_stream: "{head}REQUEST_PAYLOAD:input" '
        f'output_stream: "{head}RESPONSE_PAYLOAD:output"'
    )
    expected = parse_graph_config(f"{borders} node {{ {GRAPHS[task]} }}", "ovms")
    found = parse_graph_config(text, "ours")
    assert (found.input_streams, found.output_streams) == (
        expected.input_streams,
        expected.output_streams,
    )
    (one,), (other,) = found.nodes, expected.nodes
    for field in (
        "name",
        "calculator",
        "input_streams",
        "output_streams",
        "input_side_packets",
        "back_edges",
    ):
        assert getattr(one, field) == getattr(other, field), field
    assert tokens_of(text) == tokens_of(GRAPHS[task])
    [entry] = json.loads(Path("config.json").read_text())["model_config_list"]
    assert entry == {"config": {"name": "m", "base_path": "models/m"}}


@pytest.mark.parametrize(
    ("task", "flags", "lines"),
    [
        ("embeddings_ov", ("--pooling", "LAST"), ["pooling: LAST"]),
        ("embeddings_ov", ("--skip_normalize",), ["normalize_embeddings: false"]),
        ("embeddings_ov", ("--truncate",), ["truncate: true"]),
        ("embeddings_ov", ("--num_streams", 2), ["""plugin_config: '{"NUM_STREAMS": "2"}'"""]),
        ("embeddings_ov", ("--target_device", "GPU"), ['target_device: "GPU"']),
        ("rerank_ov", ("--num_streams", 3), ["""plugin_config: '{"NUM_STREAMS": "3"}'"""]),
        ("rerank_ov", ("--max_allowed_chunks", 7), ["max_allowed_chunks: 7"]),
        (
            "rerank_ov",
            ("--ov_cache_dir", "/c", "--plugin_config", '{"A": 1, "NUM_STREAMS": 5}'),
            ["""plugin_config: '{"NUM_STREAMS": 5, "CACHE_DIR": "/c", "A": 1}'"""],
        ),
        ("speech2text", ("--enable_word_timestamps",), ["enable_word_timestamps: true"]),
        ("speech2text", ("--num_streams", 4), ["""plugin_config: '{"NUM_STREAMS": "4"}'"""]),
        ("text2speech", ("--num_streams", 4), ["""plugin_config: '{"NUM_STREAMS": "4"}'"""]),
        ("image_generation", ("--num_streams", 2), ["""plugin_config: '{"NUM_STREAMS": 2}'"""]),
        ("image_generation", ("--resolution", "64x64 128x96"), ['resolution: "64x64 128x96"']),
        (
            "image_generation",
            ("--guidance_scale", 7.5, "--num_images_per_prompt", 2),
            ["num_images_per_prompt: 2", "guidance_scale: 7.5"],
        ),
        (
            "image_generation",
            ("--max_resolution", "512x512", "--default_resolution", "64x32"),
            ['max_resolution: "512x512"', 'default_resolution: "64x32"'],
        ),
        (
            "image_generation",
            (
                *("--max_num_images_per_prompt", 3, "--default_num_inference_steps", 4),
                *("--max_num_inference_steps", 5),
            ),
            [
                "max_num_images_per_prompt: 3",
                "default_num_inference_steps: 4",
                "max_num_inference_steps: 5",
            ],
        ),
    ],
)
def test_every_flag_reaches_the_graph(
    run: Run, task: str, flags: tuple[object, ...], lines: list[str]
) -> None:
    code, printed = run(task, *flags)
    assert code == 0, printed
    text = "\n".join(line.strip() for line in graph_of().splitlines())
    assert "\n".join(lines) in text


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("embeddings_ov", "--task feature-extraction"),
        ("rerank_ov", "--task text-classification"),
        ("speech2text", "--task automatic-speech-recognition-with-past"),
        ("text2speech", "--task text-to-audio"),
        ("image_generation", "--library diffusers --task text-to-image"),
    ],
)
def test_the_command_of_the_converter(run: Run, converter: Any, task: str, command: str) -> None:
    run(task, "--weight-format", "int4", "--extra_quantization_params=--sym", "--trust_remote_code")
    found = " ".join(converter.commands[0])
    assert command in found
    assert "--weight-format int4 --sym" in found
    assert "--trust-remote-code" in found


def test_a_reranker_that_generates_text_stays_one(run: Run, converter: Any) -> None:
    code, printed = run("rerank_ov", architectures=["Qwen3ForCausalLM"])
    assert code == 0, printed
    assert "--task text-generation-with-past" in " ".join(converter.commands[0])
    assert "--without-special-tokens" not in converter.commands[1]
    assert 'calculator: "RerankCalculatorOV"' in graph_of()


def test_how_a_tokenizer_is_converted(run: Run, converter: Any) -> None:
    run("rerank_ov", "--max_doc_length", 99)
    command = converter.commands[1]
    assert "--without-special-tokens" in command
    assert command[command.index("--max-length") + 1] == "99"


def test_the_fp16_of_sound_is_optimums(run: Run, converter: Any) -> None:
    run("speech2text", "--weight-format", "fp16")
    assert len(converter.commands) == 1
    assert "--weight-format fp16" in " ".join(converter.commands[0])


def test_the_vocoder_of_speecht5(run: Run, converter: Any, tmp_path: Path) -> None:
    run("text2speech")
    command = converter.commands[0]
    arguments = command[command.index("--model-kwargs") + 1]
    assert json.loads(arguments) == {"vocoder": "org/vocoder"}
    assert "HF_HUB_OFFLINE" not in converter.environments[0], "the vocoder is on the Hub"
    (tmp_path / "vocoder").mkdir()
    run("text2speech", "--vocoder", "vocoder", "--overwrite_models")
    assert str(tmp_path / "vocoder") in " ".join(converter.commands[-1])
    assert "HF_HUB_OFFLINE" in converter.environments[-1]


def test_a_voice_is_copied(run: Run) -> None:
    Path("anna.bin").write_bytes(struct.pack("<512f", *range(512)))
    code, printed = run("text2speech", "--speaker_name", "anna", "--speaker_path", "anna.bin")
    assert code == 0, printed
    lines = [line.strip() for line in graph_of().splitlines()]
    start = lines.index("voices {")
    assert lines[start : start + 4] == [
        "voices {",
        'name: "anna"',
        'path: "./voices/anna.bin"',
        "}",
    ]
    assert Path("models/m/voices/anna.bin").read_bytes() == Path("anna.bin").read_bytes()


def test_loras_are_copied(run: Run) -> None:
    Path("pokemon.safetensors").write_bytes(b"weights")
    value = "pokemon=pokemon.safetensors:0.75,anime=./pokemon.safetensors,both=@pokemon:0.7+@anime"
    code, printed = run("image_generation", "--source_loras", value)
    assert code == 0, printed
    text = re.sub(r"\s+", " ", graph_of())
    assert (
        'lora_adapters { alias: "pokemon" path: "loras/pokemon.safetensors" alpha: 0.75 '
        "mode: DYNAMIC }" in text
    )
    assert 'lora_adapters { alias: "anime" path: "loras/anime.safetensors" mode: DYNAMIC }' in text
    assert (
        'composite_lora_adapters { alias: "both" components { adapter_alias: "pokemon" alpha: 0.7 '
        '} components { adapter_alias: "anime" } }' in text
    )
    assert Path("models/m/loras/anime.safetensors").read_bytes() == b"weights"


def test_modules_of_sentence_transformers_are_carried(run: Run, tmp_path: Path) -> None:
    source = write_source("embeddings_ov", tmp_path / "sources" / "m")
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}, {"path": "3_Normalize"}]
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "sentence_bert_config.json").write_text("{}")
    for name in ("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("{}")
    code, printed = run("embeddings_ov")
    assert code == 0, printed
    model = Path("models/m")
    for name in (
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
    ):
        assert (model / name).is_file(), name


@pytest.mark.parametrize(
    ("modules", "message"),
    [("{", "does not list modules"), ('[{"path": "0_Transformer"}]', "give that folder as the")],
)
def test_modules_that_cannot_be_used(run: Run, tmp_path: Path, modules: str, message: str) -> None:
    source = write_source("embeddings_ov", tmp_path / "sources" / "m")
    (source / "modules.json").write_text(modules)
    code, printed = run("embeddings_ov")
    assert code == 1
    assert message in printed
    assert not list(Path("models").iterdir())


@pytest.mark.parametrize(
    ("task", "source", "command"),
    [
        ("embeddings_ov", "speech2text", "export_model speech2text --source_model"),
        ("text_generation", "image_generation", "export_model image_generation --source_model"),
        ("image_generation", "rerank_ov", "export_model rerank_ov --source_model"),
        ("speech2text", "text2speech", "export_model text2speech --source_model"),
        ("text2speech", "embeddings_ov", "export_model embeddings_ov --source_model"),
    ],
)
def test_a_model_for_another_task(
    export: Run, converter: Any, tmp_path: Path, task: str, source: str, command: str
) -> None:
    folder = write_source(source, tmp_path / "m")
    code, printed = export("--source_model", folder, task=task)
    assert code == 1
    assert f"{command} {folder}" in printed
    assert not converter.commands


@pytest.mark.parametrize(
    ("task", "flags", "message"),
    [
        ("embeddings_ov", ("--pooling", "MAX"), "choose from 'CLS', 'LAST', 'MEAN'"),
        ("embeddings_ov", ("--num_streams", "0"), "'0' is not a whole number from 1"),
        ("rerank_ov", ("--max_doc_length", "x"), "'x' is not a whole number from 1"),
        ("rerank_ov", ("--target_device", "NPU"), "NPU is not supported yet"),
        ("image_generation", ("--resolution", "64"), "'64' is not a size; the form is WxH"),
        ("image_generation", ("--resolution", " "), "holds no size"),
        ("image_generation", ("--max_resolution", "0x8"), "'0x8' is not a size"),
        ("image_generation", ("--guidance_scale", "nan"), "'nan' is not a finite number"),
        ("text2speech", ("--model_type", "bark"), "choose from 'kokoro', 'speecht5'"),
        ("text2speech", ("--speaker_name", "x"), "one needs the other"),
        (
            "text2speech",
            ("--speaker_name", "x", "--speaker_path", "lost"),
            "--speaker_path lost: no such file",
        ),
        ("text_generation", ("--pooling", "CLS"), "unknown flag --pooling"),
    ],
)
def test_bad_values(
    export: Run, converter: Any, task: str, flags: tuple[str, ...], message: str
) -> None:
    code, printed = export("--source_model", "org/m", *flags, task=task)
    assert code == 2
    assert message in printed
    assert not converter.commands


def test_a_voice_of_another_size(run: Run) -> None:
    Path("anna.bin").write_bytes(b"1234")
    code, printed = run("text2speech", "--speaker_name", "anna", "--speaker_path", "anna.bin")
    assert code == 2
    assert "holds 4 bytes; a voice of SpeechT5 is 512 numbers, f32: 2048 bytes" in printed


def test_speecht5_without_a_vocoder(export: Run, converter: Any, tmp_path: Path) -> None:
    source = write_source("text2speech", tmp_path / "m")
    code, printed = export("--source_model", source, task="text2speech")
    assert code == 1
    assert "SpeechT5 needs a vocoder: --vocoder microsoft/speecht5_hifigan" in printed


def test_a_kind_of_speaker_that_it_is_not(run: Run) -> None:
    code, printed = run("text2speech", "--model_type", "kokoro")
    assert code == 1
    assert "is a model of the kind speecht5, not kokoro" in printed


def test_kokoro_needs_its_package(
    run: Run, converter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "text2speech", ("config.json", {"istftnet": {}, "plbert": {}}))
    code, printed = run("text2speech")
    assert code == 1
    assert "the Python package of Kokoro is not installed; it comes with: pip install kokoro" in (
        printed
    )
    assert not converter.commands


@pytest.mark.parametrize(
    ("task", "package", "message"),
    [
        ("image_generation", "diffusers", "pip install '.[export-images]'"),
        ("text2speech", "sentencepiece", "pip install '.[export-speech]'"),
        ("embeddings_ov", "optimum", "pip install '.[export]'"),
    ],
)
def test_missing_packages_name_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch, task: str, package: str, message: str
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find_spec(name)
    )
    code, printed = run(task)
    assert code == 1
    assert f"{package.replace('optimum', 'optimum-intel')} is not installed" in printed
    assert message in printed


def test_an_incomplete_pipeline_is_exported_again(run: Run, converter: Any) -> None:
    run("image_generation")
    code, printed = run("image_generation")
    assert (code, len(converter.commands)) == (0, 1), printed
    Path("models/m/text_encoder/openvino_model.bin").unlink()
    code, printed = run("image_generation")
    assert code == 0
    assert "exported again: text_encoder/openvino_model.bin is missing" in printed
    assert len(converter.commands) == 2


def test_an_openvino_pipeline_is_used_where_it_is(
    export: Run, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_pipeline(make_model, PIPELINE, tmp_path / "ready")
    code, printed = export("--source_model", source, "--no_verify", task="image_generation")
    assert code == 0, printed
    assert f'models_path: "{source}"' in graph_of("ready")


def test_a_hub_model_brings_its_small_files(export: Run, converter: Any) -> None:
    converter.make_model = partial(
        converter.make_model, parts=("openvino_model", "openvino_tokenizer")
    )
    code, printed = export("--source_model", "org/m", task="embeddings_ov")
    assert code == 0, printed
    fetch = converter.commands[2]
    assert {"download", "org/m", "modules.json", "[0-9]_*/*"} <= {*fetch}
    assert "HF_HUB_OFFLINE" not in converter.environments[2]
