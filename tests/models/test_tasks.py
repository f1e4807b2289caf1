"""What a model is for, and the graph of a folder without a graph.pbtxt."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fakes import echo_graph, write_graph

from server.errors import ConfigError, GraphValidationError, ModelLoadError
from server.graph import GraphConfig, validate
from server.models.classic_model import classic_graph, find_versions
from server.models.config import ModelConfig, load_config, single_model_config
from server.models.loading.model_loading import check_model
from server.models.model_folder import FolderKind, kind_of
from server.models.model_repository import list_models
from server.models.tasks import TASKS, find_source_task, find_task
from server.models.watched_files import WatchedFiles

ENCODER = '<net name="input_ids" names="last_hidden_state"/>'
LLM = '<net name="beam_idx" names="logits"/>'
CLASSIFIER = '<net name="input_ids" names="logits"/>'
BERT = {"model_type": "bert", "architectures": ["BertModel"]}
RERANKER = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
LABELS = {**RERANKER, "id2label": {"0": "bad", "1": "good"}}
KOKORO = {"istftnet": {}, "plbert": {}}


def write(folder: Path, *models: str, **files: Any) -> Path:
    """A folder with these models, all of the text `xml`, and these JSON files."""
    xml = files.pop("xml", "<net/>")
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for name in models:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".xml").write_text(xml)
        path.with_suffix(".bin").touch()
    return folder


TEXT = ("openvino_model", "openvino_tokenizer")
GENERATOR = (*TEXT, "openvino_detokenizer")
PARTS = ("openvino_encoder_model", "openvino_decoder_model")


@pytest.mark.parametrize(
    ("models", "xml", "files", "task"),
    [
        (GENERATOR, LLM, {"config": {"model_type": "llama"}}, "text_generation"),
        (TEXT, LLM, {}, "text_generation"),  # the error says that a tokenizer is missing
        (TEXT, ENCODER, {"config": BERT}, "embeddings"),
        (GENERATOR, ENCODER, {"config": BERT}, "embeddings"),
        (TEXT, ENCODER, {"config": BERT, "1_Pooling/config": {}}, "embeddings"),
        (
            GENERATOR,
            LLM.replace("beam_idx", 'beam_idx" name="input_ids'),
            {"config": BERT, "modules": [{"type": "sentence_transformers.models.Pooling"}]},
            "embeddings",
        ),
        (TEXT[:1], ENCODER, {"config": BERT}, None),
        (TEXT, ENCODER.replace("input_ids", "pixel_values"), {"config": BERT}, None),
        (TEXT, CLASSIFIER, {"config": RERANKER}, "rerank"),
        (TEXT, CLASSIFIER, {"config": {**RERANKER, "id2label": None, "num_labels": 1}}, "rerank"),
        (TEXT, CLASSIFIER, {"config": {**LABELS, "sentence_transformers": {}}}, "rerank"),
        (
            TEXT,
            CLASSIFIER,
            {"config": LABELS, "config_sentence_transformers": {"model_type": "CrossEncoder"}},
            "rerank",
        ),
        (TEXT, CLASSIFIER, {"config": LABELS}, None),
        (TEXT, CLASSIFIER, {"config": {"architectures": "BertForSequenceClassification"}}, None),
        (TEXT[:1], CLASSIFIER, {"config": RERANKER}, None),
        (PARTS, LLM, {"config": {"model_type": "whisper"}}, "speech2text"),
        (PARTS, LLM, {"config": {"model_type": "t5"}}, "text_generation"),
        (PARTS, "", {"config": {"model_type": "speecht5"}}, "text2speech"),
        (TEXT[:1], "", {"config": KOKORO}, "text2speech"),
        (
            ("unet/openvino_model", "vae_decoder/openvino_model"),
            "",
            {"model_index": {"_class_name": "StableDiffusionPipeline"}},
            "image_generation",
        ),
        ((), "", {"model_index": {"_class_name": "StableDiffusionPipeline"}}, None),
        (("model",), "", {}, None),
        (TEXT, "", {"config": []}, None),
    ],
)
def test_a_folder_is_recognised(
    models: tuple[str, ...], xml: str, files: dict[str, Any], task: str | None, tmp_path: Path
) -> None:
    folder = write(tmp_path, *models, xml=xml, **files)
    found = find_task(folder)
    assert (found and found.name) == task


@pytest.mark.parametrize(
    ("files", "task"),
    [
        ({"config": {"model_type": "whisper"}}, "speech2text"),
        ({"config": {"model_type": "speecht5"}}, "text2speech"),
        ({"config": KOKORO}, "text2speech"),
        ({"config": LABELS}, "rerank"),
        ({"model_index": {"_class_name": "FluxPipeline"}}, "image_generation"),
        ({"config": BERT}, "embeddings"),
        ({"config": {"architectures": ["XLMRobertaForMaskedLM"]}}, "embeddings"),
        ({"config": {"architectures": ["Qwen3ForCausalLM"]}}, "text_generation"),
        (
            {"config": {"architectures": ["Qwen3ForCausalLM"]}, "config_sentence_transformers": {}},
            "embeddings",
        ),
        (
            {"config": {}, "config_sentence_transformers": {"model_type": "SparseEncoder"}},
            "text_generation",
        ),
        ({"config": {}, "modules": [{"type": "x.LogitScore"}, 3, {}]}, "rerank"),
        ({}, "text_generation"),
    ],
)
def test_a_source_is_recognised(files: dict[str, Any], task: str, tmp_path: Path) -> None:
    assert find_source_task(write(tmp_path, **files)).name == task


def graph_of(folder: Path, **keys: Any) -> GraphConfig:
    (model,) = find_versions(single_model_config("m", folder, keys)).models
    return classic_graph(model)


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("embeddings", ("EmbeddingsExecutor", "EmbeddingsCalculatorOV")),
        ("rerank", ("RerankExecutor", "RerankCalculatorOV")),
        ("image_generation", ("ImageGenExecutor", "ImageGenCalculator")),
        ("text2speech", ("T2sExecutor", "T2sCalculator")),
        ("speech2text", ("S2tExecutor", "S2tCalculator")),
        ("text_generation", ("LLMExecutor", "HttpLLMCalculator")),
    ],
)
def test_the_graph_of_a_task(name: str, node: tuple[str, str], tmp_path: Path) -> None:
    folder = write(tmp_path, *GENERATOR)
    graph = graph_of(folder, task=name, target_device="GPU")
    assert (graph.nodes[0].name, graph.nodes[0].calculator_name) == node
    head = "" if name in ("embeddings", "rerank") else "HTTP_"
    assert graph.input_streams == (f"{head}REQUEST_PAYLOAD:input",)
    assert graph.output_streams == (f"{head}RESPONSE_PAYLOAD:output",)
    device = "device" if name in ("image_generation", "text_generation") else "target_device"
    options = {"models_path": "./", device: "GPU"}
    if name == "text_generation":
        options["enable_prefix_caching"] = True
    assert graph.options == options
    assert "plugin_config" in graph_of(folder, task=name, plugin_config={"A": 1}).options


def test_options_of_a_task(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", *TEXT, xml=ENCODER, config=BERT)
    keys = {"options": {"pooling": "LAST"}, "target_device": "GPU", "plugin_config": {"A": 1}}
    assert graph_of(folder, **keys).options == {
        "models_path": "./",
        "pooling": "LAST",
        "target_device": "GPU",
        "plugin_config": '{"A": 1}',
    }
    with pytest.raises(ModelLoadError, match="options is for a model of a task; this one takes"):
        graph_of(folder, **keys, nireq=2)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"poling": "LAST"}, "no node has an option 'poling'; did you mean 'pooling'"),
        ({"pooling": "LST"}, "pooling cannot be set to 'LST': .*did you mean 'LAST'"),
        ({"truncate": "x"}, "truncate cannot be set to 'x'"),
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens is 0; it must be at least 1"),
    ],
)
def test_bad_options_of_a_task(options: dict[str, Any], problem: str, tmp_path: Path) -> None:
    folder = write(tmp_path, *TEXT, xml=ENCODER, config=BERT)
    with pytest.raises(GraphValidationError, match=problem):
        validate(graph_of(folder, options=options), folder)


def test_options_in_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.json"

    def read(options: object) -> ModelConfig:
        entry = {"config": {"name": "m", "options": options}}
        file.write_text(json.dumps({"model_config_list": [entry]}))
        (model,) = find_versions(load_config(file)).models
        return model

    for options, problem in {
        "CLS": "must be an object, found the string 'CLS'",
        ("CLS",): "must be an object, found a list",
    }.items():
        with pytest.raises(ConfigError, match=f"config.options {problem}"):
            read(options)
    with pytest.raises(ConfigError, match="options cannot hold device; the key target_device of"):
        read({"device": "GPU"})
    graph = write_graph(tmp_path / "m", echo_graph())
    with pytest.raises(ModelLoadError, match=f"without a graph; set them in {graph}"):
        check_model(read({"pooling": "LAST"}), WatchedFiles())
    check_model(read({}), WatchedFiles())


def test_no_device_is_no_option(tmp_path: Path) -> None:
    assert graph_of(write(tmp_path, *TEXT), task="rerank").options == {"models_path": "./"}


def test_keys_of_tensors_make_a_model_of_tensors(tmp_path: Path) -> None:
    folder = write(tmp_path, *TEXT, xml=ENCODER, config=BERT)
    assert graph_of(folder).nodes[0].name == "EmbeddingsExecutor"
    assert graph_of(folder, nireq=2).nodes[0].name == "Model"
    with pytest.raises(ModelLoadError, match="nireq is for tensors; a model of task embeddings"):
        graph_of(folder, nireq=2, task="embeddings")


def test_files_that_a_task_lacks(tmp_path: Path) -> None:
    folder = write(tmp_path, TEXT[0], xml=ENCODER, config=BERT)
    assert graph_of(folder).nodes[0].name == "Model"
    with pytest.raises(ModelLoadError, match="openvino_tokenizer.xml: no such file; make it of"):
        graph_of(folder, task="embeddings")
    (folder / "openvino_model.bin").unlink()
    with pytest.raises(ModelLoadError, match="export_model embeddings_ov --source_model"):
        graph_of(folder, task="embeddings")


def test_a_task_in_a_configuration(tmp_path: Path) -> None:
    write(tmp_path / "m", *TEXT)
    file = tmp_path / "config.json"
    entry = {"config": {"name": "m", "base_path": "m", "task": "rerank"}}
    file.write_text(json.dumps({"model_config_list": [entry]}))
    (model,) = find_versions(load_config(file)).models
    assert classic_graph(model).nodes[0].name == "RerankExecutor"
    file.write_text(json.dumps({"model_config_list": [entry]}).replace("rerank", "rank"))
    with pytest.raises(ConfigError, match="config.task 'rank' is unknown; did you mean 'rerank'?"):
        load_config(file)


def test_a_task_beside_a_graph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "graph.pbtxt").touch()
    (model,) = single_model_config("m", tmp_path, {"task": "rerank"}).models
    assert model.classic.task == ""
    assert "--task has no effect" in caplog.text


def test_versions_of_a_task(tmp_path: Path) -> None:
    for version in ("1", "3"):
        write(tmp_path / version, *TEXT, xml=ENCODER, config=BERT)
    (model,) = find_versions(single_model_config("m", tmp_path)).models
    assert model.model_folder == tmp_path / "3"
    assert classic_graph(model).nodes[0].name == "EmbeddingsExecutor"


def test_an_image_pipeline_is_a_model(tmp_path: Path) -> None:
    index = {"_class_name": "StableDiffusionPipeline"}
    folder = write(tmp_path / "sd", "unet/openvino_model", model_index=index)
    write(tmp_path / "source" / "unet", model_index=index)
    assert kind_of(folder) is FolderKind.MODEL
    assert list_models(tmp_path)[0] == "sd"
    assert graph_of(folder).nodes[0].name == "ImageGenExecutor"
    source = write(tmp_path / "source", model_index=index)
    assert kind_of(source) is FolderKind.CHECKPOINT
    with pytest.raises(ModelLoadError, match="export_model image_generation --source_model"):
        graph_of(source)


def test_every_task_has_a_name_of_its_own() -> None:
    assert all(task.name == name for name, task in TASKS.items())
    assert len({replace(task).calculator for task in TASKS.values()}) == len(TASKS)
