import pytest

from calculators.llm.llm_options import (
    LLMCalculatorOptions,
    PipelineType,
    parse_llm_properties,
    parse_plugin_config,
)
from calculators.llm.lora_options import AdapterMode, LoraAdapter
from server.errors import GraphValidationError
from server.graph import parse_graph_config, validate


def parse(text, folder):
    """Return the options that a graph.pbtxt with this text gives."""
    source = f"""
        input_stream: "PROMPT:input"
        output_stream: "TOKENS:output"
        node {{
          name: "LLMExecutor"
          calculator: "calculators.llm_executor_calculator:LLMExecutorCalculator"
          input_stream: "PROMPT:input"
          output_stream: "TOKENS:output"
          node_options: {{
            [type.googleapis.com / mediapipe.LLMCalculatorOptions]: {{ {text} }}
          }}
        }}
    """
    graph = validate(parse_graph_config(source, "graph.pbtxt"), folder)
    found = [node.options for node in graph.nodes if isinstance(node.options, LLMCalculatorOptions)]
    (options,) = found
    return options


def test_only_the_model_folder_is_required(tmp_path):
    options = parse('models_path: "./"', tmp_path)
    assert options == LLMCalculatorOptions("./")
    assert (options.max_num_batched_tokens, options.max_num_seqs, options.cache_size) == (
        256,
        256,
        0,
    )
    assert (options.device, options.best_of_limit, options.max_tokens_limit) == ("", 20, None)
    assert (options.dynamic_split_fuse, options.enable_prefix_caching) == (True, False)
    assert (options.pipeline_type, options.plugin_config) == (PipelineType.AUTO, "")


def test_a_graph_without_a_model_folder_is_refused(tmp_path):
    with pytest.raises(GraphValidationError, match="models_path"):
        parse('device: "CPU"', tmp_path)


def test_every_field_is_read(tmp_path):
    text = """
        models_path: "model", max_num_batched_tokens: 1024, cache_size: 4, max_num_seqs: 64,
        dynamic_split_fuse: false, device: "GPU", plugin_config: '{"NUM_STREAMS": 1}',
        best_of_limit: 5, max_tokens_limit: 100, enable_prefix_caching: true, num_kv_blocks: 7,
        pipeline_type: LM_CB
    """
    assert parse(text, tmp_path) == LLMCalculatorOptions(
        models_path="model",
        max_num_batched_tokens=1024,
        cache_size=4,
        num_kv_blocks=7,
        max_num_seqs=64,
        dynamic_split_fuse=False,
        device="GPU",
        plugin_config='{"NUM_STREAMS": 1}',
        best_of_limit=5,
        max_tokens_limit=100,
        enable_prefix_caching=True,
        pipeline_type=PipelineType.LM_CB,
    )


@pytest.mark.parametrize(("text", "target"), [("", None), ("0", 0), ("80", 80)])
def test_a_target_for_the_time_between_tokens_is_read(tmp_path, text, target):
    stated = f"target_inter_token_latency_ms: {text}" if text else ""
    options = parse(f'models_path: "./" {stated}', tmp_path)
    assert options.target_inter_token_latency_ms == target


def test_tool_calls_can_be_guided(tmp_path):
    text = 'models_path: "./" enable_tool_guided_generation: true'
    assert parse(text, tmp_path).enable_tool_guided_generation


@pytest.mark.parametrize("name", ["LM", "LM_CB", "AUTO"])
def test_every_pipeline_of_a_text_model_is_the_same_one(tmp_path, name):
    options = parse(f'models_path: "./" pipeline_type: {name}', tmp_path)
    assert options.pipeline_type.name == name


def test_defaults_of_unsupported_fields_are_fine(tmp_path):
    text = """
        models_path: "./" draft_models_path: "" draft_device: "" draft_eagle3_mode: False
        draft_cache_size: 0 pipeline_type: AUTO
        enable_tool_guided_generation: false chat_template_mode: JINJA
    """
    options = parse(text, tmp_path)
    assert options.models_path == "./"
    assert options.draft_models_path == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipeline_type: VLM", "pipeline_type is VLM, .*possible: LM, LM_CB, AUTO"),
        ("pipeline_type: VLM_CB", "pipeline_type is VLM_CB,"),
        ("pipeline_type: OMNI", "pipeline_type is OMNI,"),
        ("chat_template_mode: MINJA", "chat_template_mode is MINJA,.*possible: JINJA"),
        ('tool_parser: "hermes3"', "unknown field 'tool_parser'"),
        ('draft_device: "CPU"', "draft_device is 'CPU', but there is no draft model; name it with"),
        ("draft_max_num_batched_tokens: 8", "draft_max_num_batched_tokens is 8, but there is no"),
        ("draft_cache_size: 1", "draft_cache_size is 1, but there is no draft model"),
        ("draft_block_size: 1", "draft_block_size is 1, but there is no draft model"),
        ("draft_max_num_seqs: 1", "draft_max_num_seqs is 1, but there is no draft model"),
        ("draft_dynamic_split_fuse: true", "draft_dynamic_split_fuse is True, but there is no"),
        ("draft_eagle3_mode: True", "draft_eagle3_mode is not supported yet; a draft model"),
        (
            'draft_models_path: "draft" draft_eagle3_mode: True',
            "draft_eagle3_mode is not supported yet; a draft model with the same tokenizer is",
        ),
        ("cache_interval_multiplier: 0", "cache_interval_multiplier is 0; it must be at least 1"),
        (
            "cache_eviction_config: { start_size: 32 recent_size: 128 max_cache_size: 672 "
            "kv_crush_config { anchor_point_mode: MEAN } }",
            "cache_eviction_config is not supported",
        ),
        (
            "sparse_attention_config { mode: XATTENTION xattention_threshold: 0.9 }",
            "sparse_attention_config is not supported",
        ),
        (
            "target_inter_token_latency_ms: 9 dynamic_split_fuse: false",
            "target_inter_token_latency_ms needs dynamic_split_fuse",
        ),
        ("max_num_seqs: 0", "max_num_seqs is 0; it must be at least 1"),
        ("max_tokens_limit: 0", "max_tokens_limit is 0"),
        ("cache_size: -1", "cache_size"),
        ("cache_sise: 1", "unknown field 'cache_sise'; did you mean.*'cache_size'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(GraphValidationError, match=message):
        parse(f'models_path: "./" {text}', tmp_path)


def test_every_problem_is_reported_at_once(tmp_path):
    with pytest.raises(GraphValidationError, match=r"draft_device.*draft_cache_size"):
        parse('models_path: "./" draft_device: "CPU" draft_cache_size: 1', tmp_path)


def test_every_option_of_a_draft_model(tmp_path):
    options = parse(
        'models_path: "./" draft_models_path: "draft" draft_device: "GPU" draft_cache_size: 1 '
        "draft_max_num_batched_tokens: 8 draft_max_num_seqs: 2 draft_dynamic_split_fuse: false "
        "draft_block_size: 32 draft_eagle3_mode: False",
        tmp_path,
    )
    assert (options.draft_models_path, options.draft_device) == ("draft", "GPU")
    assert (options.draft_cache_size, options.draft_max_num_seqs) == (1, 2)
    assert options.draft_max_num_batched_tokens == 8
    assert options.draft_dynamic_split_fuse is False


def test_a_plugin_config_nested_without_end():
    with pytest.raises(ValueError, match="plugin_config is not JSON"):
        parse_plugin_config("[" * 100_000)


@pytest.mark.parametrize(
    ("text", "expected"), [("{}", False), ('{"prompt_lookup": true}', True), ("", False)]
)
def test_prompt_lookup_is_no_property_of_openvino(text, expected):
    assert parse_llm_properties(text) == ({}, expected)


def test_other_properties_stay_beside_prompt_lookup():
    text = '{"prompt_lookup": false, "KV_CACHE_PRECISION": "u8"}'
    assert parse_llm_properties(text) == ({"KV_CACHE_PRECISION": "u8"}, False)


def test_prompt_lookup_is_a_boolean(tmp_path):
    with pytest.raises(GraphValidationError, match="prompt_lookup: 3; it must be true or false"):
        parse('models_path: "./" plugin_config: \'{"prompt_lookup": 3}\'', tmp_path)


def test_prompt_lookup_is_for_models_that_write_text():
    with pytest.raises(ValueError, match="prompt_lookup; this model writes no text"):
        parse_plugin_config('{"prompt_lookup": true}')


@pytest.mark.parametrize(
    ("adapters", "problem"),
    [
        ((LoraAdapter("", "a"),), "an adapter without alias or path"),
        ((LoraAdapter("a", "x"), LoraAdapter("a", "y")), "two adapters have the alias 'a'"),
        ((LoraAdapter("a", "x", mode=AdapterMode.FUSE),), "'a' has the mode FUSE; possible"),
        ((LoraAdapter("a", "x", float("nan")),), "'a' has the alpha nan"),
    ],
)
def test_adapters_that_cannot_be_served(adapters: tuple[LoraAdapter, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        LLMCalculatorOptions("./", lora_adapters=adapters)
