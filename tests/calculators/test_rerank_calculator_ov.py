"""Scores and labels, compared with sentence-transformers and transformers."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny_rankers import (
    CLASSIFIERS,
    DOCUMENTS,
    GENERATOR,
    KINDS,
    QUERY,
    TEXTS,
    qwen3_pair,
)

from calculators.rerank_calculator_ov import RerankCalculatorOV, RerankCalculatorOVOptions
from server.errors import ContextLengthError, InvalidRequestError, ModelLoadError
from server.graph import OpenContext, Services
from server.graph.testing import CalculatorRunner
from server.payloads import (
    ClassifyRequest,
    LoadOptions,
    RerankRequest,
    ScoringRequest,
    ScoringResponse,
)

Opener = Callable[..., CalculatorRunner]

# A CPU that can would compute in bfloat16.
F32 = '{"INFERENCE_PRECISION_HINT": "f32"}'
PAIRS = tuple((QUERY, document) for document in DOCUMENTS)


@pytest.fixture
def opened(rankers: Path) -> Iterator[Opener]:
    """Open the calculator on a kind of model, or on a folder, with options."""
    runners = []

    def start(model: str | Path, **options: Any) -> CalculatorRunner:
        folder = rankers / model / "openvino" if isinstance(model, str) else model
        values = {"target_device": "CPU", "plugin_config": F32, **options}
        runner = CalculatorRunner(
            RerankCalculatorOV, RerankCalculatorOVOptions(str(folder), **values)
        )
        runners.append(runner)
        runner.open()
        return runner

    yield start
    for runner in runners:
        runner.close()


async def ask(runner: CalculatorRunner, request: ScoringRequest) -> ScoringResponse:
    (response,) = (await runner.run({"REQUEST_PAYLOAD": [request]}))["RESPONSE_PAYLOAD"]
    assert isinstance(response, ScoringResponse)
    return response


async def scores(runner: CalculatorRunner, request: RerankRequest) -> list[float]:
    return [row[0] for row in (await ask(runner, request)).rows]


def expected(rankers: Path, kind: str) -> Any:
    return json.loads((rankers / kind / "expected.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
async def test_scores_are_those_of_cross_encoder(opened: Opener, rankers: Path, kind: str) -> None:
    found = await scores(opened(kind), RerankRequest(pairs=PAIRS))
    wanted = expected(rankers, kind)["scores"]
    assert found == pytest.approx(wanted, abs=1e-4, rel=1e-3)
    places = range(len(found))
    assert sorted(places, key=found.__getitem__) == sorted(places, key=wanted.__getitem__)


async def test_a_model_that_generates_text_answers_yes_or_no(
    opened: Opener, rankers: Path, tmp_path: Path
) -> None:
    wanted = expected(rankers, GENERATOR)["scores"]
    runner = opened(GENERATOR)
    alone = [await scores(runner, RerankRequest(pairs=(pair,))) for pair in PAIRS]
    assert [score for (score,) in alone] == pytest.approx(wanted, abs=1e-4)
    requests = (scores(runner, RerankRequest(pairs=PAIRS)) for _ in range(5))
    assert await asyncio.gather(*requests) == [pytest.approx(wanted, abs=1e-4)] * 5
    status = runner.calculator.status()
    assert status["paged"]
    # Of the prompts, all but the document is the same.
    assert status["num_cached_tokens"] > 0.8 * status["num_tokens"]
    # As sentence-transformers says it: by two tokens, or one.
    folder = Path(shutil.copytree(rankers / GENERATOR / "openvino", tmp_path / "model"))
    (folder / "1_LogitScore").mkdir()
    score = {"type": "sentence_transformers.x.LogitScore", "path": "1_LogitScore"}
    (folder / "modules.json").write_text(json.dumps([score]))
    tokens = {"true_token_id": 7, "false_token_id": None}
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(tokens))
    request = RerankRequest(pairs=PAIRS, use_activation=False)
    one = await scores(opened(folder), request)
    tokens = {"true_token_id": 7, "false_token_id": 9}
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(tokens))
    two = await scores(opened(folder), request)
    assert one != pytest.approx(two, abs=1e-3)
    (folder / "1_LogitScore" / "config.json").write_text("{}")
    with pytest.raises(ModelLoadError, match="true_token_id None"):
        opened(folder)


async def test_a_generating_model_without_known_answers_is_refused(
    opened: Opener, rankers: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(rankers / GENERATOR / "openvino", tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(ModelLoadError, match="nothing says by which tokens it scores"):
        opened(folder)


async def test_a_decoder_that_classifies_shares_prompts(opened: Opener) -> None:
    runner = opened("qwen3")
    await scores(runner, RerankRequest(pairs=PAIRS))
    assert runner.calculator.status()["num_cached_tokens"] > 0
    assert "num_cached_tokens" not in opened("bert").calculator.status()


async def test_requests_with_other_salts_share_no_prompts(opened: Opener) -> None:
    runner = opened(GENERATOR)

    async def num_cached(salt: str) -> int:
        before = runner.calculator.status()["num_cached_tokens"]
        await scores(runner, RerankRequest(pairs=PAIRS[:1], cache_salt=salt))
        found: int = runner.calculator.status()["num_cached_tokens"] - before
        return found

    assert [await num_cached(salt) for salt in ("", "a", "b")] == [0, 0, 0]
    assert [await num_cached(salt) > 0 for salt in ("", "a", "b")] == [True, True, True]


@pytest.mark.parametrize("problem", CLASSIFIERS)
async def test_classes_are_those_of_the_pipeline(
    opened: Opener, rankers: Path, problem: str
) -> None:
    response = await ask(opened(problem), ClassifyRequest(inputs=tuple(TEXTS)))
    for row, answer in zip(response.rows, expected(rankers, problem)["answers"], strict=True):
        wanted = {label["label"]: label["score"] for label in answer}
        found = dict(zip(response.labels, row, strict=True))
        assert found == pytest.approx(wanted, abs=1e-4)


async def test_pairs_in_one_batch_get_what_they_get_alone(opened: Opener) -> None:
    for kind in ("bert", "qwen3"):
        runner = opened(kind)
        together = await scores(runner, RerankRequest(pairs=PAIRS))
        alone = [await scores(runner, RerankRequest(pairs=(pair,))) for pair in PAIRS]
        assert together == pytest.approx([score for (score,) in alone], abs=1e-5)
        at_once = [scores(runner, RerankRequest(pairs=PAIRS)) for _ in range(4)]
        assert await asyncio.gather(*at_once) == [pytest.approx(together, abs=1e-5)] * 4


async def test_a_long_document_has_the_score_of_its_best_chunk(opened: Opener) -> None:
    runner = opened("bert", max_position_embeddings=16)
    document = "the quick brown fox jumps over the lazy dog and sees no other fox " * 4
    request = RerankRequest(pairs=(("fox", document),))
    whole = await ask(runner, request)
    assert whole.num_tokens > 16
    (first,) = await scores(runner, replace(request, max_chunks_per_doc=1))
    cut = await ask(runner, replace(request, truncate_prompt_tokens=-1))
    assert cut.num_tokens == 16
    assert cut.rows == ((pytest.approx(first, abs=1e-5),),)
    assert whole.rows[0][0] > first


async def test_the_activation_is_the_files_or_the_requests(
    opened: Opener, rankers: Path, tmp_path: Path
) -> None:
    (probability,) = await scores(opened("bert"), RerankRequest(pairs=PAIRS[:1]))
    folder = tmp_path / "identity"
    shutil.copytree(rankers / "bert" / "openvino", folder)
    config = json.loads((folder / "config.json").read_text())
    identity = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config.json").write_text(json.dumps({**config, "sentence_transformers": identity}))
    runner = opened(folder)
    request = RerankRequest(pairs=PAIRS[:1], is_probability=False)
    (logit,) = await scores(runner, request)
    assert await scores(runner, replace(request, use_activation=False)) == [logit]
    for other in (replace(request, is_probability=True), replace(request, use_activation=True)):
        assert await scores(runner, other) == [pytest.approx(probability, abs=1e-6)]
    plain = ClassifyRequest(inputs=("fox",), use_activation=False)
    (row,) = (await ask(opened("single_label"), plain)).rows
    assert sum(row) != pytest.approx(1)


async def test_rerankers_with_a_template_show_the_instruction(
    opened: Opener, rankers: Path
) -> None:
    runner = opened("qwen3")
    assert runner.calculator.status()["template"] == "Qwen3-Reranker"
    with_template = await scores(runner, RerankRequest(pairs=PAIRS))
    other = await scores(runner, RerankRequest(pairs=PAIRS, instruction="Find a fox"))
    assert other != pytest.approx(with_template, rel=1e-3)
    # Without it, the client can write the whole prompt itself.
    plain = opened("qwen3", chat_template="none")
    written = tuple(qwen3_pair(*pair) for pair in PAIRS)
    assert await scores(plain, RerankRequest(pairs=written)) == pytest.approx(with_template)
    assert "template" not in plain.calculator.status()
    with pytest.raises(InvalidRequestError, match="no template that shows one"):
        await scores(plain, RerankRequest(pairs=PAIRS, instruction="Find a fox"))


async def test_prompts_that_are_too_long_are_refused_or_cut(opened: Opener) -> None:
    runner = opened("qwen3")
    request = RerankRequest(pairs=((QUERY, "fox " * 1000),))
    with pytest.raises(ContextLengthError, match="exceeds the model context of 512"):
        await scores(runner, request)
    cut = await ask(runner, replace(request, truncate_prompt_tokens=-1))
    assert cut.num_tokens == 512
    short = await ask(runner, replace(request, max_tokens_per_doc=5))
    none = await ask(runner, replace(request, pairs=((QUERY, ""),)))
    assert short.num_tokens == none.num_tokens + 5


async def test_requests_that_cannot_be_served_are_refused(opened: Opener) -> None:
    runner = opened("bert", max_allowed_chunks=3)
    with pytest.raises(InvalidRequestError, match="Number of documents exceeds max_allowed_chunks"):
        await scores(runner, RerankRequest(pairs=PAIRS))
    with pytest.raises(InvalidRequestError, match=r"after chunking limit: 3; actual: [4-9]"):
        await scores(runner, RerankRequest(pairs=(("a", "fox " * 500),)))
    with pytest.raises(InvalidRequestError, match="input has 4 texts; at most 3"):
        await ask(runner, ClassifyRequest(inputs=("a",) * 4))
    with pytest.raises(ContextLengthError, match="longer than allowed 128"):
        await ask(runner, ClassifyRequest(inputs=("fox " * 500,)))
    cut = ClassifyRequest(inputs=("fox " * 500, (5,) * 500), truncate_prompt_tokens=-1)
    assert (await ask(runner, cut)).num_tokens == 256
    with pytest.raises(InvalidRequestError, match="token id 99999 is unknown to the model"):
        await ask(runner, ClassifyRequest(inputs=((99999,),)))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_position_embeddings": 8}, r"larger than 2 \* NUMBER_OF_SPECIAL_TOKENS"),
        ({"max_allowed_chunks": 0}, "max_allowed_chunks is 0"),
        ({"plugin_config": "{"}, "plugin_config is not JSON"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RerankCalculatorOVOptions("model", **options)


@pytest.mark.parametrize("missing", ["openvino_tokenizer.xml", "openvino_model.xml"])
def test_a_folder_without_its_files_is_refused(rankers: Path, tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(rankers / "bert" / "openvino", folder)
    (folder / missing).unlink()
    runner = CalculatorRunner(RerankCalculatorOV, RerankCalculatorOVOptions(str(folder)))
    with pytest.raises(ModelLoadError, match=missing):
        runner.open()
    runner.close()


async def test_the_node_offers_its_tokenizer_and_limit(opened: Opener) -> None:
    runner = opened("bert", max_position_embeddings=64)
    tokenizer = runner.output_side_packets["TOKENIZER"]
    # As in Model Server, special tokens are the node's.
    assert len(tokenizer.encode("fox", add_special_tokens=True)) == 1
    assert runner.output_side_packets["MODEL_LIMITS"].max_model_len == 64


async def test_the_length_of_a_row_is_that_of_the_files(
    opened: Opener, rankers: Path, tmp_path: Path
) -> None:
    # It has 130 positions, of which two are never used.
    assert opened("roberta").output_side_packets["MODEL_LIMITS"].max_model_len == 128
    folder = Path(shutil.copytree(rankers / "bert" / "openvino", tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    assert opened(folder).output_side_packets["MODEL_LIMITS"].max_model_len == 512


def test_check_finds_what_open_would_raise(rankers: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rankers / "bert" / "openvino", tmp_path / "model"))
    calculator = RerankCalculatorOV()
    context = OpenContext("node", calculator.contract, {}, tmp_path)
    calculator.options = RerankCalculatorOVOptions("model", target_device="CPU")
    calculator.check(context)
    calculator.options = replace(calculator.options, chat_template="missing.jinja")
    with pytest.raises(ModelLoadError, match=r"missing\.jinja"):
        calculator.check(context)
    calculator.options = replace(calculator.options, chat_template="", target_device="TPU")
    with pytest.raises(ModelLoadError, match="TPU"):
        calculator.check(context)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        calculator.check(context)
    calculator.close()


async def test_the_servers_own_template_comes_first(rankers: Path, tmp_path: Path) -> None:
    file = tmp_path / "server.jinja"
    file.write_text("{{ messages[-1].content }}")
    options = RerankCalculatorOVOptions(
        str(rankers / "qwen3" / "openvino"), target_device="CPU", chat_template="none"
    )
    services = Services(extras=(LoadOptions(chat_template=file),))
    runner = CalculatorRunner(RerankCalculatorOV, options, services=services)
    runner.open()
    assert runner.calculator.status()["template"] == str(file)
    response = await ask(runner, RerankRequest(pairs=(("fox", "a dog"),)))
    alone = await ask(runner, ClassifyRequest(inputs=("a dog",)))
    assert response.num_tokens == alone.num_tokens
    runner.close()
