"""The flags of a task for a model folder without graph.pbtxt: each reaches the node."""

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from support.command_lines import parse

from server.cli.modes import run_mode
from server.cli.task_flags import GRAPH_FLAGS, TASKS_OF
from server.errors import ConfigError
from server.graph import validate
from server.models.classic_config import ClassicConfig
from server.models.classic_model import classic_graph, find_versions
from server.models.config import ModelConfig, ServerConfig
from server.models.model_manager import ModelManager
from server.models.tasks import TASKS
from server.payloads import EmbeddingRequest

HERE = Path(__file__).parent.resolve()
SIZE = ["--resolution=64x64"]
FLAGS: dict[str, list[tuple[list[str], str, object]]] = {
    "text_generation": [
        (["--pipeline_type=LM_CB"], "pipeline_type", "LM_CB"),
        (["--enable_prefix_caching=false"], "enable_prefix_caching", False),
        (["--max_num_batched_tokens=64"], "max_num_batched_tokens", 64),
        (["--max_num_seqs=8"], "max_num_seqs", 8),
        (["--cache_size=0"], "cache_size", 0),
        (["--cache_interval_multiplier=2"], "cache_interval_multiplier", 2),
        (["--tool_parser=hermes3"], "tool_parser", "hermes3"),
        (["--reasoning_parser=qwen3"], "reasoning_parser", "qwen3"),
        (["--enable_tool_guided_generation=true"], "enable_tool_guided_generation", True),
        (["--dynamic_split_fuse=false"], "dynamic_split_fuse", False),
        (["--kv_cache_precision=u8"], "plugin_config", '{"KV_CACHE_PRECISION": "u8"}'),
        (["--prompt_lookup_decoding"], "plugin_config", '{"prompt_lookup": true}'),
        (["--draft_model_path=no/such/folder"], "draft_models_path", "no/such/folder"),
        ([f"--draft_model_path={HERE}"], "draft_models_path", str(HERE)),
    ],
    "embeddings": [
        (["--pooling=LAST"], "pooling", "LAST"),
        (["--normalize=false"], "normalize_embeddings", False),
        (["--truncate"], "truncate", True),
    ],
    "rerank": [
        (["--max_allowed_chunks=5"], "max_allowed_chunks", 5),
        (["--num_streams=2"], "plugin_config", '{"NUM_STREAMS": 2}'),
    ],
    "image_generation": [
        (SIZE, "resolution", "64x64"),
        ([*SIZE, "--guidance_scale=7.5"], "guidance_scale", 7.5),
        ([*SIZE, "--num_images_per_prompt=1"], "num_images_per_prompt", 1),
        (["--max_resolution=64x64"], "max_resolution", "64x64"),
        (["--default_resolution=64x64"], "default_resolution", "64x64"),
        (["--max_num_images_per_prompt=3"], "max_num_images_per_prompt", 3),
        (["--default_num_inference_steps=2"], "default_num_inference_steps", 2),
        (["--max_num_inference_steps=60"], "max_num_inference_steps", 60),
    ],
    "speech2text": [(["--enable_word_timestamps"], "enable_word_timestamps", True)],
    "text2speech": [(["--num_streams=3"], "plugin_config", '{"NUM_STREAMS": 3}')],
}


def config_of(folder: Path, *flags: str) -> ServerConfig:
    return parse("--model_name=m", "--model_path", folder, *flags).models.load_config()


def model_of(folder: Path, *flags: str) -> ModelConfig:
    (model,) = config_of(folder, *flags).models
    return model


@pytest.mark.parametrize(
    ("task", "flags", "option", "value"),
    [(task, *case) for task, cases in FLAGS.items() for case in cases],
)
def test_a_flag_is_an_option_of_the_node(
    task: str, flags: list[str], option: str, value: object, tmp_path: Path
) -> None:
    for name in ("openvino_model", "openvino_tokenizer", "openvino_detokenizer"):
        (tmp_path / f"{name}.xml").touch()
        (tmp_path / f"{name}.bin").touch()
    (model,) = find_versions(config_of(tmp_path, f"--task={task}", *flags)).models
    graph = classic_graph(model)
    assert graph.options[option] == value
    assert type(graph.options[option]) is type(value)
    validate(graph, tmp_path)


def test_every_flag_of_a_graph_is_tried_for_its_task() -> None:
    tried = {case[0][-1].partition("=")[0] for cases in FLAGS.values() for case in cases}
    assert tried == GRAPH_FLAGS
    assert set(FLAGS) == set(TASKS)
    assert TASKS_OF.keys() >= GRAPH_FLAGS


def test_plugin_config_takes_precedence(tmp_path: Path) -> None:
    flags = ["--task=rerank", "--num_streams=2", "--plugin_config"]
    model = model_of(tmp_path, *flags, '{"NUM_STREAMS": 4, "A": 1}')
    assert json.loads(model.classic.plugin_config) == {"NUM_STREAMS": 4, "A": 1}
    with pytest.raises(ConfigError, match="--plugin_config must be an object"):
        model_of(tmp_path, *flags, "x")
    assert model_of(tmp_path, *flags[:1], "--num_streams=0").classic == ClassicConfig(task="rerank")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--task=rerank", "--pooling=LAST"], "--pooling is for embeddings; this model is for rer"),
        (["--truncate"], "--truncate is for embeddings; this model is for tensors, unless --task"),
        (["--task=embeddings", "--num_streams=x"], "--num_streams: 'x' is not a whole number"),
        (["--task=text_generation", "--kv_cache_precision=u4"], "'u4' is unknown; possible: 'u8'"),
        (["--task=text_generation", "--max_num_seqs=0"], "--max_num_seqs: '0' is not a whole"),
        (["--task=text_generation", "--enable_prefix_caching=x"], "'x' is neither true nor false"),
        (["--task=image_generation", "--guidance_scale=nan"], "'nan' is not a finite number"),
    ],
)
def test_flags_that_cannot_be_used(flags: list[str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        model_of(tmp_path, *flags)


def test_a_graph_says_the_options_itself(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").touch()
    problem = f"--pooling is for a model without a graph; set the option in {tmp_path}/graph.pbtxt"
    with pytest.raises(ConfigError, match=problem):
        model_of(tmp_path, "--task=embeddings", "--pooling=LAST")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="m: no such folder"):
        model_of(tmp_path / "m", "--pooling=LAST")


def test_flags_go_into_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    flags = ["--add_to_config", "--model_name=m", "--task=embeddings", "--pooling=LAST"]
    assert run_mode(parse(*flags, "--model_path", tmp_path, "--config_path", file)) == 0
    (entry,) = json.loads(file.read_text())["model_config_list"]
    assert entry["config"]["options"] == {"pooling": "LAST"}


async def test_an_embedder_with_flags_answers_accordingly(
    tiny_encoders: Path, tmp_path: Path
) -> None:
    """The task shows in the files of the version; the vector is the model's at the last token."""
    source = tiny_encoders / "bert" / "openvino"
    (tmp_path / "1").symlink_to(source)
    precision = ["--plugin_config", '{"INFERENCE_PRECISION_HINT": "f32"}', "--target_device=CPU"]
    flags = ["--pooling", "LAST", "--normalize", "false", "--num_streams", "2", *precision]
    manager = ModelManager(config_of(tmp_path, *flags), drain_timeout_s=1)
    await manager.load_all()
    async with manager.get("m").graph.start_run(EmbeddingRequest(((2, 5, 3),))) as run:
        (embedding,) = (await anext(run)).embeddings
    await manager.close(0)
    compiled = ov.Core().compile_model(
        source / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    ids = np.array([[2, 5, 3]])
    given = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    result = compiled({name: given[name] for name in (i.any_name for i in compiled.inputs)})
    expected = result[0][0, -1]
    np.testing.assert_allclose(np.frombuffer(embedding.values, "<f4"), expected, atol=1e-4)
    assert abs(np.linalg.norm(expected) - 1) > 0.1
