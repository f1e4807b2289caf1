import pytest
from custom_calculators.word_mask import WordMaskCalculator, WordMaskOptions

from server.graph.testing import CalculatorRunner
from server.payloads import TextChunk


def chunk(text: str, index: int = 0, finish: bool = False) -> TextChunk:
    return TextChunk(index, text, 1, 1, finish_reason="stop" if finish else None)


async def masked(*chunks: TextChunk, words: tuple[str, ...] = ("cat",)) -> list[TextChunk]:
    runner = CalculatorRunner(WordMaskCalculator, WordMaskOptions(words))
    runner.open()
    outputs = await runner.run({"TEXT": chunks})
    runner.close()
    return outputs["TEXT"]


async def text_of(*pieces: str, words: tuple[str, ...] = ("cat",)) -> str:
    chunks = [chunk(piece) for piece in pieces[:-1]] + [chunk(pieces[-1], finish=True)]
    return "".join(piece.text for piece in await masked(*chunks, words=words))


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a cat sat"], "a *** sat"),
        (["a c", "at sat"], "a *** sat"),
        (["a ", "c", "a", "t", ", see"], "a ***, see"),
        (["Cat", ""], "***"),
        (["con", "cat", "enate"], "concatenate"),
        (["cat", "s and cat"], "cats and ***"),
        (["cat", " cat"], "*** ***"),
        (["", ""], ""),
    ],
)
async def test_words_are_masked_wherever_chunks_split_them(pieces: list[str], text: str) -> None:
    assert await text_of(*pieces) == text


async def test_every_way_to_split_a_text_gives_the_same() -> None:
    text = "the cat, cats & Cat"
    for first in range(len(text)):
        for second in range(first, len(text)):
            pieces = text[:first], text[first:second], text[second:]
            assert await text_of(*pieces) == "the ***, cats & ***"


async def test_only_the_last_word_waits() -> None:
    first, second = await masked(chunk("one tw"), chunk("o three", finish=True))
    assert (first.text, second.text) == ("one ", "two three")


async def test_choices_do_not_mix() -> None:
    chunks = await masked(
        chunk("c", 0), chunk("dog", 1), chunk("at", 0, finish=True), chunk(" c", 1, finish=True)
    )
    texts = {0: "", 1: ""}
    for piece in chunks:
        texts[piece.index] += piece.text
    assert texts == {0: "***", 1: "dog c"}


async def test_an_answer_that_breaks_off_loses_nothing() -> None:
    assert [piece.text for piece in await masked(chunk("a cat"))] == ["a ", "***"]


async def test_the_last_chunk_keeps_its_finish_reason() -> None:
    pieces = await masked(chunk("cat"), chunk("", finish=True))
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("***", "stop")]


def test_a_phrase_is_no_word() -> None:
    with pytest.raises(ValueError, match="words has 'two words'"):
        WordMaskOptions(("two words",))
