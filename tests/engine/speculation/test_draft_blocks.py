"""What the blocks of a draft model are known to hold."""

import numpy as np

from server.engine.sequence import GrowableArray
from server.engine.speculation.draft_blocks import DraftBlocks, TextDigests

SIZE = 4


def text_of(*tokens: int) -> TextDigests:
    text = TextDigests(GrowableArray(np.int64, tokens), SIZE)
    text.update()
    return text


def table(*blocks: int) -> np.ndarray:
    return np.array(blocks, np.int32)


def test_a_block_is_known_as_far_as_its_tokens_are_the_same() -> None:
    blocks = DraftBlocks(8, SIZE)
    blocks.note(text_of(1, 2, 3, 4, 5, 6, 7), table(3, 5), 0, 7)
    assert blocks.num_known(text_of(1, 2, 3, 4, 5, 6, 7, 8, 9), table(3, 5, 6)) == 7
    assert blocks.num_known(text_of(1, 2, 3, 4, 5, 6, 0), table(3, 5)) == 6
    assert blocks.num_known(text_of(1, 2, 3, 4, 5), table(3, 5)) == 5
    assert blocks.num_known(text_of(1, 2, 3, 4), table(3)) == 4
    assert blocks.num_known(text_of(1, 2, 0, 4, 5), table(3, 5)) == 2
    # The same tokens in another block, or after another text, are not known.
    assert blocks.num_known(text_of(1, 2, 3, 4, 5), table(3, 6)) == 4
    assert blocks.num_known(text_of(9, 2, 3, 4, 5, 6, 7), table(3, 5)) == 0
    assert blocks.num_known(text_of(5, 6, 7), table(5)) == 0


def test_a_rejected_token_is_overwritten() -> None:
    blocks = DraftBlocks(8, SIZE)
    blocks.note(text_of(1, 2, 3, 4, 5, 6), table(0, 1), 0, 6)
    text = text_of(1, 2, 8)
    assert blocks.num_known(text, table(0, 1)) == 2
    blocks.note(text, table(0, 1), 2, 3)
    assert blocks.num_known(text_of(1, 2, 8, 4, 5, 6), table(0, 1)) == 3
    # The block is not full any more, so the next one is behind an unknown text.
    assert blocks.num_known(text_of(1, 2, 3, 4, 5, 6), table(0, 1)) == 2


def test_copies_and_losses() -> None:
    blocks = DraftBlocks(8, SIZE)
    text = text_of(1, 2, 3, 4, 5)
    blocks.note(text, table(0, 1), 0, 5)
    blocks.copy([(0, 2), (1, 3)])
    assert blocks.num_known(text, table(2, 3)) == 5
    blocks.forget()
    assert blocks.num_known(text, table(0, 1)) == 0
    assert blocks.num_known(text, table(2, 3)) == 0


def test_a_text_gets_longer_and_shorter() -> None:
    text = text_of(1, 2, 3, 4, 5, 6, 7, 8)
    whole = text.ends(9).tolist()
    assert len(whole) == 2
    text.tokens.truncate(6)
    text.truncate()
    for token in (7, 8):
        text.tokens.append(token)
    text.update()
    assert text.ends(9).tolist() == whole
    assert text.ends(1).tolist() == whole[:1]
    text.tokens.truncate(6)
    text.truncate()
    text.tokens.append(0)
    text.tokens.append(8)
    text.update()
    assert text.ends(9).tolist()[0] == whole[0]
    assert text.ends(9).tolist()[1] != whole[1]
