"""Side packets: what nodes offer to each other and to the server."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from server.payloads.generation import ChatOptions

__all__ = ["LoadOptions", "ModelLimits", "TextTokenizer", "TokenizerInfo"]


@dataclass(frozen=True, slots=True)
class TokenizerInfo:
    """The description of a tokenizer; None for what its files do not say.

    `special_tokens` has the texts of bos_token, eos_token and so on.
    """

    vocab_size: int
    special_tokens: Mapping[str, str]
    tokenizer_class: str | None = None
    pad_token_id: int | None = None
    chat_template: str | None = None


@runtime_checkable
class TextTokenizer(Protocol):
    """A side packet of this type serves the endpoints that tokenise. Threads share it."""

    def info(self) -> TokenizerInfo:
        """Describe the tokenizer."""

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids of a text, never cut."""

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids; special tokens are written as their names or skipped."""

    def spell(self, token_ids: Iterable[int]) -> list[str]:
        """Return the text of each token; special tokens are written as their names."""

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        template_kwargs: Mapping[str, Any],
        options: ChatOptions,
    ) -> str:
        """Return the prompt of a conversation, special tokens included.

        Raises InvalidRequestError if the model cannot chat, or cannot render these messages.
        """


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a server lets nodes do while they load a model.

    With `auto_tune` they may take time to measure what is fastest on this machine. `chat_template`
    is a file with a template that replaces the model's own; a rendering takes at most
    `chat_template_time_limit_ms`, by default as the node's options say. `split_special_tokens`
    makes names of special tokens that clients write into conversations plain text. Text models
    begin with the adapters `lora_modules`, each a name and its folder; with `takes_lora_adapters`
    others may be loaded while they serve.
    """

    auto_tune: bool = True
    chat_template: Path | None = None
    chat_template_time_limit_ms: int | None = None
    split_special_tokens: bool = False
    lora_modules: tuple[tuple[str, Path], ...] = ()
    takes_lora_adapters: bool = False


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """A side packet with the most tokens that prompt and answer may have together."""

    max_model_len: int
