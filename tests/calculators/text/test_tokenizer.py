import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calculators.text.prompt_limit import PromptLimit
from calculators.text.tokenizer import Tokenizer
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import ChatOptions

PROGRAM = """
import sys
from pathlib import Path
from calculators.text.tokenizer import Tokenizer
tokenizer = Tokenizer(Path(sys.argv[1]))
assert tokenizer.decode(tokenizer.encode("Hello", True)) == "Hello"
Tokenizer(Path(sys.argv[1]), split_special_tokens=True)
print(sorted({"torch", "transformers", "tokenizers"} & set(sys.modules)))
"""


def test_a_tokenizer_goes_both_ways(model):
    tokenizer = Tokenizer(model.path)
    ids = tokenizer.encode("the quick fox", add_special_tokens=True)
    assert tokenizer.decode(ids) == "the quick fox"


def test_a_prompt_is_refused_before_all_of_it_is_read(model):
    tokenizer = Tokenizer(model.path)
    longest = 100

    def check(num_tokens, *, is_exact):
        assert not is_exact
        if num_tokens > longest:
            raise ContextLengthError(f"at least {num_tokens}")

    tokenizer.limit_prompts(PromptLimit(longest, check))
    for text in ("日fox " * 300_000, "the quick " * 30_000):
        with pytest.raises(ContextLengthError, match="at least") as error:
            tokenizer.encode_prompt(text, add_special_tokens=False)
        assert longest < int(str(error.value).split()[-1]) <= len(text.encode())
        assert len(tokenizer.encode_prompt(text, False, truncates_to=longest)) == longest + 1
        assert len(tokenizer.encode_prompt(text, False, truncates_to=-1)) == longest + 1
        with pytest.raises(ContextLengthError):
            tokenizer.encode_prompt(text, add_special_tokens=False, truncates_to=longest + 1)
    assert tokenizer.encode_prompt("fox", True) == tokenizer.encode("fox", True)


def test_a_conversation_that_makes_too_much_text_is_too_long_a_prompt(byte_level):
    tokenizer = Tokenizer(byte_level.path)
    messages = [{"role": "user", "content": "x" * 16_000_000}]
    with pytest.raises(InvalidRequestError, match="makes more than 16000000 characters"):
        tokenizer.render_chat(messages, (), {}, ChatOptions())

    def check(num_tokens, *, is_exact):
        raise ContextLengthError(f"at least {num_tokens}")

    tokenizer.limit_prompts(PromptLimit(100, check))
    with pytest.raises(ContextLengthError, match="at least 1"):
        tokenizer.render_chat(messages, (), {}, ChatOptions())


def test_special_tokens_are_shown_where_asked(word_piece):
    tokenizer = Tokenizer(word_piece.path)
    ids = tokenizer.encode("the quick fox", add_special_tokens=True)
    assert tokenizer.decode(ids) == "the quick fox"
    shown = tokenizer.decode(ids, skip_special_tokens=False)
    assert shown.startswith("[CLS]")
    assert shown.endswith("[SEP]")


def test_tokens_are_spelled_one_by_one(byte_level):
    tokenizer = Tokenizer(byte_level.path)
    ids = tokenizer.encode("<|im_start|>the quick fox", add_special_tokens=True)
    spelled = tokenizer.spell(ids)
    assert spelled[0] == "<|im_start|>"
    assert "".join(spelled[1:]) == "the quick fox"
    assert "\ufffd" in tokenizer.spell(tokenizer.encode("漢", add_special_tokens=True))


def test_info(byte_level):
    info = Tokenizer(byte_level.path).info()
    assert info.vocab_size == len(byte_level.hf)
    assert info.special_tokens["eos_token"] == "<|im_end|>"
    assert info.pad_token_id == byte_level.hf.pad_token_id
    assert info.chat_template == byte_level.hf.chat_template


def test_info_of_a_model_without_a_template_or_padding(metaspace):
    info = Tokenizer(metaspace.path).info()
    assert (info.chat_template, info.pad_token_id) == (None, None)
    assert info.special_tokens["bos_token"] == "<s>"


def test_a_broken_description_does_not_stop_the_tokenizer(byte_level, tmp_path, caplog):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").write_text("{")
    info = Tokenizer(tmp_path).info()
    assert (info.vocab_size, info.special_tokens) == (len(byte_level.hf), {})
    assert "tokenizer_config.json" in caplog.text


def test_a_process_that_has_a_tokenizer_needs_no_training_library_and_ends_well(metaspace):
    # A process crashes if OpenVINO's libraries are unloaded in the wrong order.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, metaspace.path],
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"
