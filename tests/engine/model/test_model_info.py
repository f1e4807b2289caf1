"""Reading config.json and generation_config.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.engine.model.model_info import ModelInfo, longrope_switch, read_model_info
from server.errors import ModelLoadError


def read(folder: Path, config: Any = None, generation: Any = None) -> ModelInfo:
    for name, value in (("config.json", config), ("generation_config.json", generation)):
        if value is not None:
            (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return read_model_info(folder)


def test_a_folder_without_json_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == ModelInfo(None, frozenset(), {})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 4096, "sliding_window": 512}, 4096),
        ({"text_config": {"max_position_embeddings": 77}}, 77),
        ({"max_seq_len": 2048}, 2048),
        ({"max_position_embeddings": None, "n_ctx": 5}, 5),
        ({"max_position_embeddings": "many", "n_ctx": True}, None),
        ({}, None),
    ],
    ids=str,
)
def test_context_length(tmp_path: Path, config: Any, expected: int | None) -> None:
    assert read(tmp_path, config).max_model_len == expected


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({"eos_token_id": 2}, None, {2}),
        ({"eos_token_id": 2}, {"eos_token_id": [5, 6]}, {5, 6}),
        ({"eos_token_id": 2}, {"eos_token_id": None}, {2}),
        ({"text_config": {"eos_token_id": 9}}, {}, {9}),
        ({}, {}, set()),
    ],
    ids=str,
)
def test_end_tokens(tmp_path: Path, config: Any, generation: Any, expected: set[int]) -> None:
    assert read(tmp_path, config, generation).eos_token_ids == expected


def test_sampling_defaults(tmp_path: Path) -> None:
    generation = {"temperature": 0.6, "top_k": 50, "top_p": None, "do_sample": True, "x": 1}
    assert read(tmp_path, None, generation).sampling_defaults == {"temperature": 0.6, "top_k": 50}


def test_a_byte_order_mark(tmp_path: Path) -> None:
    info = read(tmp_path, "\ufeff" + '{"n_ctx": 5}', "\ufeff" + '{"top_k": 7}')
    assert (info.max_model_len, info.sampling_defaults) == (5, {"top_k": 7})


def test_every_sampling_default(tmp_path: Path) -> None:
    generation = {
        "temperature": 0.6, "top_k": 0, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1,
        "frequency_penalty": 0.5, "presence_penalty": -0.5, "max_new_tokens": 77,
        "num_assistant_tokens": 7, "max_ngram_size": 2,
    }  # fmt: skip
    assert read(tmp_path, None, generation).sampling_defaults == {
        "temperature": 0.6, "top_k": -1, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1,
        "frequency_penalty": 0.5, "presence_penalty": -0.5, "max_tokens": 77,
        "num_assistant_tokens": 7, "max_ngram_size": 2,
    }  # fmt: skip


def test_of_two_defaults_for_drafting_the_number_holds(tmp_path: Path) -> None:
    generation = {"num_assistant_tokens": 20, "assistant_confidence_threshold": 0.4}
    assert read(tmp_path, None, generation).sampling_defaults == {"num_assistant_tokens": 20}


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ({"temperature": 9}, "temperature is 9; it must be from 0.0 to 2.0"),
        ({"temperature": "warm"}, "not supported between"),
        ({"top_k": 50.0}, "top_k is 50.0; it must be an integer"),
        ({"top_k": True}, "top_k is True; it must be an integer"),
        ({"top_k": -2}, "top_k is -2; it must be at least 1"),
        ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5; it must be an integer"),
        ({"max_new_tokens": -1}, "max_tokens is -1"),
        ({"num_assistant_tokens": 1.5}, "num_assistant_tokens is 1.5; it must be an integer"),
        ({"max_ngram_size": 0}, "max_ngram_size is 0; it must be at least 1"),
        ({"eos_token_id": "</s>"}, "eos_token_id is '</s>'; it must be an integer or a list"),
        ({"eos_token_id": [1, True]}, "it must be an integer or a list"),
        ("{", "not readable as JSON"),
        ("[]", "found list, expected a JSON object"),
    ],
    ids=str,
)
def test_errors_about_unusable_values_name_the_file(
    tmp_path: Path, generation: Any, message: str
) -> None:
    with pytest.raises(ModelLoadError, match=message) as caught:
        read(tmp_path, None, generation)
    assert str(tmp_path) in str(caught.value)


ORIGINAL = {"original_max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**ORIGINAL, "rope_scaling": {"type": "longrope"}}, 4096),
        ({**ORIGINAL, "rope_scaling": {"type": "su"}}, 4096),
        ({"rope_parameters": {**ORIGINAL, "rope_type": "longrope"}}, 4096),
        ({**ORIGINAL, "rope_scaling": {"rope_type": "yarn"}}, None),
        ({**ORIGINAL, "rope_scaling": None}, None),
        ({}, None),
    ],
    ids=str,
)
def test_where_longrope_changes_its_factors(config: Any, expected: int | None) -> None:
    assert longrope_switch(config) == expected
