"""Embeddings of real tokenizers and models, compared with sentence-transformers."""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as ops
from support.encoder_models import write_encoder
from support.tiny_encoders import KINDS, TEXTS, load_expected
from support.tiny_rankers import GENERATOR

from calculators.embeddings_calculator_ov import (
    EmbeddingsCalculatorOV,
    EmbeddingsCalculatorOVOptions,
)
from calculators.encoders.heads import Pooling
from server.errors import (
    ContextLengthError,
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
    QueueFullError,
)
from server.graph import Services
from server.graph.testing import CalculatorRunner
from server.payloads import EmbeddingRequest, ModelLimits, TextTokenizer

F32 = json.dumps({"INFERENCE_PRECISION_HINT": "f32"})


def runner_of(folder: Path, *, opens: bool = True, **options: Any) -> CalculatorRunner:
    options = {"target_device": "CPU", "plugin_config": F32, **options}
    all_options = EmbeddingsCalculatorOVOptions(".", **options)
    runner = CalculatorRunner(EmbeddingsCalculatorOV, all_options, base_path=folder)
    if opens:
        runner.open()
    return runner


async def embed(runner: CalculatorRunner, *inputs: Any, **fields: Any) -> list[Any]:
    """The vectors of a request."""
    request = EmbeddingRequest(inputs, **fields)
    (response,) = (await runner.run({"REQUEST_PAYLOAD": [request]}))["RESPONSE_PAYLOAD"]
    return [np.frombuffer(found.values, "<f4") for found in response.embeddings]


def cosine(one: Any, other: Any) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.fixture(scope="session", params=[*KINDS])
def kind(tiny_encoders: Path, request: pytest.FixtureRequest) -> Path:
    return tiny_encoders / str(request.param)


@pytest.fixture(scope="session")
def bert(tiny_encoders: Path) -> Path:
    """The exported BERT with mean pooling."""
    return tiny_encoders / "bert" / "openvino"


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """A copy of the exported BERT to change."""
    return Path(shutil.copytree(bert, tmp_path / "copy"))


async def test_vectors_are_those_of_sentence_transformers(kind: Path) -> None:
    expected = load_expected(kind)
    runner = runner_of(kind / "openvino")
    together = await embed(runner, *TEXTS, truncation="end")
    alone = [(await embed(runner, text, truncation="end"))[0] for text in TEXTS]
    queries = await embed(runner, *TEXTS, prompt_name="query", truncation="end")
    runner.close()
    for found, wanted in ((together, "vectors"), (alone, "vectors"), (queries, "queries")):
        for one, other in zip(found, expected[wanted], strict=True):
            assert cosine(one, other) > 0.99999
            np.testing.assert_allclose(one, other, atol=1e-4)


async def test_concurrent_requests_share_inferences(bert: Path) -> None:
    expected = load_expected(bert.parent)["vectors"]
    runner = runner_of(bert)
    texts = TEXTS[1:3] * 32
    found = await asyncio.gather(*(embed(runner, text) for text in texts))
    for index, (vector,) in enumerate(found):
        assert cosine(vector, expected[1 + index % 2]) > 0.99999
    status: Any = runner.calculator.status()
    assert (status["num_rows"], status["num_batches"]) == (64, 1)
    assert (status["pooling"], status["device"]) == ("MEAN", "CPU")
    assert status["inference_precision"] == "f32"
    runner.close()


async def test_requests_with_other_salts_share_no_beginnings(tiny_encoders: Path) -> None:
    runner = runner_of(tiny_encoders / "qwen3" / "openvino")
    text = " ".join(TEXTS) * 10

    async def num_cached(salt: str) -> int:
        status: Any = runner.calculator.status()
        before = status["num_cached_tokens"]
        await embed(runner, text, cache_salt=salt, truncation="end")
        status = runner.calculator.status()
        return int(status["num_cached_tokens"] - before)

    assert [await num_cached(salt) for salt in ("", "a", "b")] == [0, 0, 0]
    assert [await num_cached(salt) > 0 for salt in ("", "a", "b")] == [True, True, True]
    runner.close()


async def test_a_decoder_runs_in_the_engine_with_a_prefix_cache(tiny_encoders: Path) -> None:
    expected = load_expected(tiny_encoders / "qwen3")["queries"]
    runner = runner_of(tiny_encoders / "qwen3" / "openvino", max_num_batched_tokens=16)
    for _ in range(2):
        calls = (embed(runner, text, prompt_name="query", truncation="end") for text in TEXTS * 4)
        found = [vector for (vector,) in await asyncio.gather(*calls)]
        assert min(map(cosine, found, [*expected] * 4)) > 0.99999
    status: Any = runner.calculator.status()
    assert status["paged"]
    assert status["num_cached_tokens"] > status["num_tokens"] / 2
    with pytest.raises(InvalidRequestError, match="no vectors of single tokens"):
        await embed(runner, "a", of_tokens=True)
    runner.close()


async def test_a_model_that_generates_text_embeds_by_its_last_token(rankers: Path) -> None:
    folder = rankers / GENERATOR / "openvino"
    runner = runner_of(folder, pooling=Pooling.LAST)
    (vector,) = await embed(runner, "fox")
    assert (len(vector), np.linalg.norm(vector)) == (32, pytest.approx(1, abs=1e-5))
    assert (runner.calculator.status()["num_rows"]) == 1
    runner.close()
    with pytest.raises(ModelLoadError, match="the pooling is MEAN, but the model was exported to"):
        runner_of(folder, pooling=Pooling.MEAN)


async def test_token_ids_are_used_unchanged(bert: Path) -> None:
    runner = runner_of(bert)
    tokenizer: TextTokenizer = runner.output_side_packets["TOKENIZER"]
    token_ids = tokenizer.encode(TEXTS[1], add_special_tokens=True)
    of_ids, of_text = await embed(runner, token_ids), await embed(runner, TEXTS[1])
    np.testing.assert_allclose(of_ids[0], of_text[0], atol=1e-6)
    with pytest.raises(InvalidRequestError, match="token id 99999 is unknown to the model"):
        await embed(runner, (5, 99999))
    with pytest.raises(InvalidRequestError, match="a prompt can only be put before texts"):
        await embed(runner, token_ids, prompt_name="query")
    runner.close()


async def test_what_is_too_long_is_refused_or_cut(bert: Path) -> None:
    refusing, cutting = runner_of(bert), runner_of(bert, truncate=True)
    text = "the fox " * 50
    with pytest.raises(ContextLengthError, match="^Input length 102 longer than allowed 64$"):
        await embed(refusing, text)
    with pytest.raises(ContextLengthError, match=r"^input\[1\]: Input length 65 longer"):
        await embed(refusing, "a", (5,) * 65)
    whole = await embed(refusing, " ".join(text.split()[:62]))
    for found in (
        await embed(cutting, text),
        await embed(refusing, text, truncation="end"),
        await embed(refusing, text, max_tokens=-1),
        await embed(refusing, "bad " + text, truncation="start"),
    ):
        assert cosine(found[0], whole[0]) > 0.99999
    ten = await embed(refusing, text, max_tokens=10)
    assert cosine(ten[0], (await embed(refusing, "the fox " * 4))[0]) > 0.99999
    with pytest.raises(
        InvalidRequestError, match="truncate_prompt_tokens is 65; possible: 1 to 64"
    ):
        await embed(refusing, text, max_tokens=65)
    with pytest.raises(ContextLengthError, match="Input length 102 longer than allowed 2"):
        await embed(refusing, text, max_tokens=2)


async def test_late_chunking_pools_all_tokens(tiny_encoders: Path) -> None:
    bert = tiny_encoders / "bert" / "openvino"
    runner = runner_of(bert, late_chunking=True)
    plain = runner_of(bert, normalize_embeddings=False)
    long, short = "the fox sees a good bear " * 20, "the fox"
    words = long.split()
    assert len(words) == 120
    first, second = await embed(plain, " ".join(words[:62]), " ".join(words[62:]))
    expected = (first * 64 + second * 60) / 124
    found, other = await embed(runner, long, short)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)
    np.testing.assert_allclose(other, (await embed(runner_of(bert), short))[0], atol=1e-5)
    with pytest.raises(ContextLengthError):
        await embed(runner, long, truncation="none")


def test_late_chunking_needs_the_mean(bert: Path) -> None:
    with pytest.raises(ModelLoadError, match="late_chunking takes the mean of all tokens, but"):
        runner_of(bert, late_chunking=True, pooling=Pooling.CLS)


async def test_options_of_the_graph(bert: Path) -> None:
    mean = await embed(runner_of(bert, normalize_embeddings=False), TEXTS[1])
    assert not np.isclose(np.linalg.norm(mean[0]), 1, atol=0.01)
    first = await embed(runner_of(bert, pooling=Pooling.CLS), TEXTS[1])
    tokens = await embed(runner_of(bert), TEXTS[1], of_tokens=True)
    np.testing.assert_allclose(first[0], tokens[0].reshape(-1, 32)[0], atol=1e-5)
    assert len(tokens[0]) == 8 * 32


async def test_dimensions_are_cut_and_normalized_again(bert: Path) -> None:
    runner = runner_of(bert)
    (whole,), (part,) = await embed(runner, "the fox"), await embed(runner, "the fox", dimensions=8)
    np.testing.assert_allclose(part, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    with pytest.raises(InvalidRequestError, match="dimensions is 33; possible for this model: 1"):
        await embed(runner, "the fox", dimensions=33)
    plain = runner_of(bert, normalize_embeddings=False)
    (whole,), (part,) = await embed(plain, "the fox"), await embed(plain, "the fox", dimensions=8)
    np.testing.assert_allclose(part, whole[:8], atol=1e-6)


async def test_an_instruction_has_the_form_of_the_models_prompts(kind: Path) -> None:
    runner = runner_of(kind / "openvino")
    expected = load_expected(kind)["queries"][1]
    for fields in ({"instruction": "see"}, {"input_type": "search_query"}):
        assert cosine((await embed(runner, TEXTS[1], **fields))[0], expected) > 0.99999
    runner.close()


async def test_prompts_that_are_not_there(bert: Path) -> None:
    runner = runner_of(bert)
    with pytest.raises(InvalidRequestError, match=r"'queri'.*did you mean 'query'\?"):
        await embed(runner, "a", prompt_name="queri")
    with pytest.raises(InvalidRequestError, match="input_type is 'x'; possible: search_query"):
        await embed(runner, "a", input_type="x")
    with pytest.raises(InvalidRequestError, match="instruction and prompt_name do not go together"):
        await embed(runner, "a", instruction="a", prompt_name="query")


async def test_a_model_whose_output_is_not_a_number(copy: Path) -> None:
    ids, mask = (ops.parameter([-1, -1], ov.Type.i64) for _ in range(2))
    ids.output(0).set_names({"input_ids"})
    mask.output(0).set_names({"attention_mask"})
    table = ops.constant(np.full((300, 4), np.nan, np.float32))
    vectors = ops.gather(table, ids, ops.constant(np.array(0, np.int64)))
    write_encoder(copy, ov.Model([ops.result(vectors)], [ids, mask], "nan"))
    runner = runner_of(copy)
    with pytest.raises(GenerationError, match="output is not a number"):
        await embed(runner, "the fox")
    runner.close()


async def test_a_full_queue(bert: Path) -> None:
    runner = runner_of(bert, max_num_queued_tokens=8)
    results = await asyncio.gather(
        *(embed(runner, "the fox") for _ in range(20)), return_exceptions=True
    )
    refused = [found for found in results if isinstance(found, QueueFullError)]
    assert len(refused) == 18, "the queue took two requests of four tokens each"
    assert "queue is full" in str(refused[0])
    runner.close()


def test_side_packets(bert: Path, copy: Path) -> None:
    (copy / "openvino_detokenizer.xml").unlink()
    with_decoder, without = runner_of(bert), runner_of(copy)
    assert with_decoder.output_side_packets["MODEL_LIMITS"] == ModelLimits(64)
    tokenizer = with_decoder.output_side_packets["TOKENIZER"]
    assert isinstance(tokenizer, TextTokenizer)
    ids = tokenizer.encode("the fox", add_special_tokens=False)
    assert tokenizer.decode(ids) == "the fox"
    assert tokenizer.spell(ids) == [" the", " fox"]
    assert tokenizer.info().special_tokens["cls_token"] == "[CLS]"
    with pytest.raises(InvalidRequestError, match="cannot be turned into text"):
        without.output_side_packets["TOKENIZER"].decode(ids)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("1_Pooling/config.json", '{"pooling_mode": "max"}', "ask for the pooling max; possible:"),
        ("1_Pooling/config.json", "[", "1_Pooling/config.json: cannot be read as JSON"),
        ("modules.json", "{}", "modules.json: holds an object; it must be a list"),
        ("modules.json", '[{"type": "a.CNN"}]', "the module CNN is not supported; possible: Dense"),
        ("modules.json", '[{"type": "a.Dense", "path": "2"}]', "the model has a dense layer after"),
    ],
)
def test_files_that_cannot_be_used(copy: Path, file: str, content: str, message: str) -> None:
    (copy / file).write_text(content)
    with pytest.raises(ModelLoadError, match=message):
        runner_of(copy)
    checked = runner_of(copy, opens=False)
    with pytest.raises(ModelLoadError, match=message):
        checked.calculator.check(_context(copy))


def test_check_finds_what_loading_would(copy: Path) -> None:
    runner_of(copy, opens=False).calculator.check(_context(copy))
    (copy / "openvino_tokenizer.bin").unlink()
    with pytest.raises(ModelLoadError, match="the tokenizer needs openvino_tokenizer.xml"):
        runner_of(copy, opens=False).calculator.check(_context(copy))


def _context(folder: Path) -> Any:
    from server.graph.context import OpenContext

    return OpenContext("node", EmbeddingsCalculatorOV.contract, {}, folder, Services())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plugin_config": "{"}, "plugin_config is not JSON"),
        ({"instruction_template": "Q:"}, "instruction_template has no {instruction}"),
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens is 0; it must be at least 1"),
        ({"late_chunking": True, "truncate": True}, "late_chunking and truncate are both set"),
    ],
)
def test_options_that_cannot_be_used(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        EmbeddingsCalculatorOVOptions(".", **options)


async def test_an_answer_has_a_bounded_number_of_vectors(bert: Path) -> None:
    runner = runner_of(bert, max_vectors_per_request=3)
    assert len(await embed(runner, "a", "b", "c")) == 3
    with pytest.raises(InvalidRequestError, match="4 vectors, one for each input; .* 3 .*per_requ"):
        await embed(runner, "a", "b", "c", "d")
    with pytest.raises(InvalidRequestError, match="vectors, one for each token"):
        await embed(runner, "several words in one text", of_tokens=True)
    with pytest.raises(ValueError, match="max_vectors_per_request is 0"):
        EmbeddingsCalculatorOVOptions(".", max_vectors_per_request=0)
