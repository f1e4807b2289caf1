"""Whether two models have the same tokens, as a model and its draft model must."""

from collections.abc import Iterator
from pathlib import Path

from calculators.text.byte_table import ByteTable, load_byte_table
from server.errors import ModelLoadError
from server.host.model_files import DETOKENIZER_FILE

__all__ = ["check_same_vocabulary"]


def check_same_vocabulary(table: ByteTable, draft_path: Path) -> None:
    """Raise ModelLoadError where the tokens of the model in `draft_path` are not those of `table`.

    The message names the first token that differs.
    """
    if not draft_path.is_dir():
        raise ModelLoadError(f"{draft_path}: there is no such folder; it is draft_models_path")
    if not (draft_path / DETOKENIZER_FILE).is_file():
        raise ModelLoadError(
            f"{draft_path}: has no {DETOKENIZER_FILE}, which says what its tokens are; a draft "
            "model must have the tokens of the model. It comes with: convert_tokenizer "
            f"<the Hugging Face model> --with-detokenizer -o {draft_path}"
        )
    own, other = [*_texts(table)], [*_texts(load_byte_table(draft_path))]
    pairs = zip(own, other, strict=False)
    for token_id, (text, of_draft) in enumerate(pairs):
        if text != of_draft:
            raise _difference(
                draft_path, f"token {token_id} is {_show(of_draft)}, here {_show(text)}"
            )
    if len(own) != len(other):
        longer, which = (own, "the model") if len(own) > len(other) else (other, "the draft model")
        token_id = min(len(own), len(other))
        raise _difference(
            draft_path,
            f"it has {len(other)} tokens, the model {len(own)}; only {which} has token "
            f"{token_id}, {_show(longer[token_id])}",
        )


def _texts(table: ByteTable) -> Iterator[bytes]:
    """What each token adds to a text, or the name of a special token."""
    for token_id, added in enumerate(table.token_bytes):
        yield table.special_bytes.get(token_id, added)


def _difference(draft_path: Path, what: str) -> ModelLoadError:
    return ModelLoadError(
        f"{draft_path}: this draft model has another tokenizer: {what}. A draft model must have "
        "the tokens of the model"
    )


def _show(text: bytes) -> str:
    return repr(text.decode("utf-8", "backslashreplace"))
