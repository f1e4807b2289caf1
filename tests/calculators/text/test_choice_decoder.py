import pytest

from calculators.text.byte_table import ByteTable
from calculators.text.choice_decoder import ChoiceDecoder
from calculators.text.stop_strings import StopStringMatcher
from server.payloads import GenerationRequest, TokenChunk, TokenIdLogprobs, TokenizedPrompt

EMOJI = "😀".encode()
# 0 is a special token, 1 and 2 are words, 3 to 6 the bytes of an emoji, 7 a byte of no character.
TABLE = ByteTable(
    [b"", b" Hello", b" world", *(EMOJI[i : i + 1] for i in range(4)), b"\xff", b"STOP it", b"S"],
    {1: b"Hello", 2: b"world"},
    {0: b"<|end|>"},
)
PROMPT = TokenizedPrompt(GenerationRequest("r", prompt="Hi"), (1, 2, 3), "Hi")


def chunk(*token_ids, finish_reason=None, with_logprobs=False):
    logprobs = None
    if with_logprobs:
        logprobs = tuple(TokenIdLogprobs(t, -0.5, ((t, -0.5), (0, -1.5))) for t in token_ids)
    return TokenChunk(PROMPT, 0, token_ids, lambda: None, logprobs, finish_reason, 2)


def feed_all(decoder, chunks):
    return [text for text in map(decoder.feed, chunks) if text is not None]


def decoder_with_stop(*stop_strings):
    return ChoiceDecoder(TABLE, StopStringMatcher(stop_strings))


def test_tokens_become_text_with_counts():
    texts = feed_all(ChoiceDecoder(TABLE), [chunk(1), chunk(2, 2)])
    assert [text.text for text in texts] == ["Hello", " world world"]
    assert [text.num_completion_tokens for text in texts] == [1, 3]
    assert {text.num_prompt_tokens for text in texts} == {3}
    assert {text.num_cached_tokens for text in texts} == {2}


def test_a_character_appears_when_it_is_whole():
    texts = feed_all(ChoiceDecoder(TABLE), [chunk(3), chunk(4), chunk(5), chunk(6)])
    assert [(text.text, text.num_completion_tokens) for text in texts] == [("😀", 4)]


def test_the_tokens_of_a_text_come_with_it():
    chunks = [chunk(1), chunk(3), chunk(4), chunk(5, 6), chunk(0, finish_reason="stop")]
    texts = feed_all(ChoiceDecoder(TABLE), chunks)
    assert [text.token_ids for text in texts] == [(1,), (3, 4, 5, 6), (0,)]


def test_tokens_behind_a_stop_string_are_not_reported():
    (text,) = feed_all(decoder_with_stop("ll"), [chunk(1, 2, 2)])
    assert text.token_ids == (1,)


def test_bytes_that_can_never_be_a_character_are_replaced():
    texts = feed_all(ChoiceDecoder(TABLE), [chunk(7), chunk(3), chunk(1)])
    assert [text.text for text in texts] == ["\ufffd", "\ufffd Hello"]


def test_an_unfinished_character_is_replaced_at_the_end():
    texts = feed_all(ChoiceDecoder(TABLE), [chunk(1), chunk(3, 4, finish_reason="length")])
    assert [(text.text, text.finish_reason) for text in texts] == [
        ("Hello", None),
        ("\ufffd", "length"),
    ]


def test_the_last_chunk_is_sent_without_text():
    decoder = ChoiceDecoder(TABLE)
    texts = feed_all(decoder, [chunk(1), chunk(0, finish_reason="stop")])
    assert (texts[-1].text, texts[-1].finish_reason, texts[-1].stop_reason) == ("", "stop", None)
    assert texts[-1].num_completion_tokens == 2
    assert decoder.is_finished


def test_the_end_token_is_no_text_even_if_it_is_not_special():
    texts = feed_all(ChoiceDecoder(TABLE), [chunk(1, 2, finish_reason="stop")])
    assert [text.text for text in texts] == ["Hello"]


def test_special_tokens_in_the_middle_are_left_out():
    texts = feed_all(ChoiceDecoder(TABLE), [chunk(0), chunk(1), chunk(0), chunk(2)])
    assert [text.text for text in texts] == ["Hello", " world"]


def test_a_stop_string_across_chunks_ends_the_choice():
    decoder = decoder_with_stop("o wor")
    texts = feed_all(decoder, [chunk(1), chunk(2)])
    assert [text.text for text in texts] == ["Hell", ""]
    assert (texts[-1].finish_reason, texts[-1].stop_reason) == ("stop", "o wor")
    assert decoder.is_finished


def test_tokens_behind_a_stop_string_are_not_counted():
    texts = feed_all(decoder_with_stop("world"), [chunk(1, 2, 1, 1)])
    assert [(text.text, text.num_completion_tokens) for text in texts] == [("Hello ", 2)]


def test_held_back_text_comes_with_the_end():
    texts = feed_all(decoder_with_stop("STOP now"), [chunk(1), chunk(8, finish_reason="length")])
    assert [(text.text, text.stop_reason) for text in texts] == [("Hello", None), ("STOP it", None)]
    texts = feed_all(decoder_with_stop("STOP"), [chunk(1), chunk(9, finish_reason="length")])
    assert [text.text for text in texts] == ["Hello", "S"]


def test_a_stop_string_found_with_the_last_token_wins_over_its_length():
    texts = feed_all(decoder_with_stop("STOP"), [chunk(1), chunk(8, finish_reason="length")])
    assert (texts[-1].finish_reason, texts[-1].stop_reason) == ("stop", "STOP")


def test_the_replacement_of_an_unfinished_character_can_be_a_stop_string():
    texts = feed_all(decoder_with_stop("\ufffd"), [chunk(1, 3, finish_reason="length")])
    assert [(text.text, text.stop_reason) for text in texts] == [("Hello", "\ufffd")]


def test_echo_starts_the_text_and_keeps_the_space_behind_it():
    texts = feed_all(ChoiceDecoder(TABLE, echo="Hi"), [chunk(0), chunk(1), chunk(2)])
    assert [text.text for text in texts] == ["Hi", " Hello", " world"]


def test_stop_strings_are_not_looked_for_in_the_echo():
    decoder = ChoiceDecoder(TABLE, StopStringMatcher(["Hi"]), "Hi")
    assert [text.text for text in feed_all(decoder, [chunk(1)])] == ["Hi Hello"]


def test_log_probabilities_carry_text_bytes_and_alternatives():
    (text,) = feed_all(ChoiceDecoder(TABLE), [chunk(1, with_logprobs=True)])
    (entry,) = text.logprobs
    assert (entry.token, entry.token_bytes, entry.logprob) == ("Hello", b"Hello", -0.5)
    assert [(top.token, top.logprob) for top in entry.top] == [("Hello", -0.5), ("<|end|>", -1.5)]


def test_log_probabilities_wait_for_the_text_of_their_token():
    chunks = [chunk(token, with_logprobs=True) for token in (3, 4, 5, 6, 1)]
    texts = feed_all(ChoiceDecoder(TABLE), chunks)
    assert [(text.text, len(text.logprobs)) for text in texts] == [("😀", 4), (" Hello", 1)]
    assert b"".join(entry.token_bytes for entry in texts[0].logprobs) == EMOJI


def test_log_probabilities_wait_while_a_stop_string_may_come():
    chunks = [chunk(token, with_logprobs=True) for token in (1, 9, 2)]
    texts = feed_all(decoder_with_stop("STOP"), chunks)
    tokens = [(text.text, [entry.token for entry in text.logprobs]) for text in texts]
    assert tokens == [("Hello", ["Hello"]), ("S world", ["S", " world"])]


def test_log_probabilities_end_with_the_text():
    chunks = [chunk(token, with_logprobs=True) for token in (1, 2, 8)]
    texts = feed_all(decoder_with_stop("ld", "STOP"), chunks[:2])
    tokens = [(text.text, [entry.token for entry in text.logprobs]) for text in texts]
    assert tokens == [("Hello", ["Hello"]), (" wor", [" world"])]
    texts = feed_all(decoder_with_stop("STOP"), [chunks[0], chunks[2]])
    assert [len(text.logprobs) for text in texts] == [1, 0]


def test_the_end_token_has_a_log_probability():
    chunks = [chunk(1, with_logprobs=True), chunk(0, finish_reason="stop", with_logprobs=True)]
    texts = feed_all(ChoiceDecoder(TABLE), chunks)
    assert [entry.token for entry in texts[-1].logprobs] == ["<|end|>"]


def test_log_probabilities_that_wait_come_with_a_last_chunk_without_tokens():
    chunks = [chunk(9, with_logprobs=True), chunk(finish_reason="length")]
    (text,) = feed_all(decoder_with_stop("STOP"), chunks)
    assert (text.text, [entry.token for entry in text.logprobs]) == ("S", ["S"])


@pytest.mark.parametrize("with_logprobs", [False, True])
def test_without_log_probabilities_there_are_none(with_logprobs):
    (text,) = feed_all(ChoiceDecoder(TABLE), [chunk(1, with_logprobs=with_logprobs)])
    assert (text.logprobs is not None) == with_logprobs


@pytest.mark.parametrize("chunks", [[chunk(1), chunk(2), chunk(1)], [chunk(1, 2, 1)]])
def test_an_included_stop_string_stays_in_the_text(chunks):
    decoder = ChoiceDecoder(TABLE, StopStringMatcher(["o wor"]), includes_stop=True)
    texts = feed_all(decoder, chunks[:2])
    assert "".join(text.text for text in texts) == "Hello wor"
    assert (texts[-1].finish_reason, texts[-1].stop_reason) == ("stop", "o wor")


def test_an_included_end_token_stays_in_the_text_if_it_has_one():
    for table, shown in ((TABLE, "Hello world"), (TABLE.showing(["<|end|>"]), "Hello world")):
        texts = feed_all(
            ChoiceDecoder(table, includes_stop=True), [chunk(1, 2, finish_reason="stop")]
        )
        assert [text.text for text in texts] == [shown]
    decoder = ChoiceDecoder(TABLE.showing(["<|end|>"]), includes_stop=True)
    (text,) = feed_all(decoder, [chunk(1, 0, finish_reason="stop")])
    assert text.text == "Hello<|end|>"


def test_stop_strings_do_not_count_within_min_tokens():
    decoder = ChoiceDecoder(TABLE, StopStringMatcher(["world"]), min_tokens=2)
    texts = feed_all(decoder, [chunk(2), chunk(2), chunk(2)])
    assert "".join(text.text for text in texts) == "world world "
    assert (texts[-1].num_completion_tokens, texts[-1].stop_reason) == (3, "world")


def test_tokens_know_their_place_in_the_text():
    decoder = ChoiceDecoder(TABLE, echo="Hi")
    chunks = [chunk(token, with_logprobs=True) for token in (1, 0, 3, 4, 5, 6, 2)]
    entries = [entry for text in feed_all(decoder, chunks) for entry in text.logprobs]
    places = [(entry.token_id, entry.text_offset) for entry in entries]
    assert places == [(1, 2), (0, 8), (3, 8), (4, 8), (5, 8), (6, 8), (2, 9)]
    assert {top.text_offset for top in entries[-1].top} == {9}


def test_log_probabilities_of_the_prompt_go_out_once():
    decoder = ChoiceDecoder(TABLE)
    decoder.prompt_logprobs = ()
    texts = feed_all(decoder, [chunk(3), chunk(1), chunk(2)])
    assert [text.prompt_logprobs for text in texts] == [(), None]


def test_an_answer_without_tokens_is_the_echo():
    (text,) = feed_all(ChoiceDecoder(TABLE, echo="Hi"), [chunk(finish_reason="length")])
    assert (text.text, text.finish_reason, text.num_completion_tokens) == ("Hi", "length", 0)
