"""Nomic BERT, which transformers 4.57 does not have: BERT with rotary positions and gated MLPs.

The names of its modules are those in the published checkpoints (nomic-ai/nomic-embed-text-v1.5),
whose own Python code would have to be fetched and trusted.
"""

from typing import Any, ClassVar

import torch
import transformers
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

__all__ = ["NomicBertConfig", "NomicBertModel", "register_nomic_bert"]

# Settings of the published code that no published embedder uses, with the value that all have.
FIXED = {
    "activation_function": "swiglu",
    "causal": False,
    "num_experts": 0,
    "parallel_block": False,
    "prenorm": False,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "use_rms_norm": False,
}


class NomicBertConfig(transformers.PretrainedConfig):  # type: ignore[misc]  # without types
    """config.json of a Nomic BERT; it has GPT-2's names for sizes."""

    model_type = "nomic_bert"
    attribute_map: ClassVar = {
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
    }

    def __init__(
        self,
        vocab_size: int = 30528,
        n_embd: int = 768,
        n_layer: int = 12,
        n_head: int = 12,
        n_inner: int = 3072,
        n_positions: int = 8192,
        type_vocab_size: int = 2,
        layer_norm_epsilon: float = 1e-12,
        rotary_emb_base: float = 1000,
        qkv_proj_bias: bool = False,
        mlp_fc1_bias: bool = False,
        mlp_fc2_bias: bool = False,
        **others: Any,
    ) -> None:
        for name, value in FIXED.items():
            if (others.get(name, value) or None) != (value or None):
                raise ValueError(f"Nomic BERT with {name} {others[name]!r} cannot be exported")
        self.vocab_size = vocab_size
        self.n_embd, self.n_layer, self.n_head, self.n_inner = n_embd, n_layer, n_head, n_inner
        self.n_positions, self.type_vocab_size = n_positions, type_vocab_size
        self.layer_norm_epsilon, self.rotary_emb_base = layer_norm_epsilon, rotary_emb_base
        self.qkv_proj_bias = qkv_proj_bias
        self.mlp_fc1_bias, self.mlp_fc2_bias = mlp_fc1_bias, mlp_fc2_bias
        super().__init__(**others)


class Attention(nn.Module):
    """Every token sees every other that is no padding."""

    def __init__(self, config: NomicBertConfig) -> None:
        super().__init__()
        size = config.n_embd
        self.num_heads, self.head_size = config.n_head, size // config.n_head
        self.Wqkv = nn.Linear(size, 3 * size, bias=config.qkv_proj_bias)
        self.out_proj = nn.Linear(size, size, bias=config.qkv_proj_bias)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, turns: Any) -> torch.Tensor:
        """f32[batch, tokens, size]; `turns` are cosines and sines f32[tokens, head size]."""
        batch, length, size = hidden.shape
        qkv = self.Wqkv(hidden).view(batch, length, 3, self.num_heads, self.head_size)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(
            _turn(query, *turns), _turn(key, *turns), value, attn_mask=mask
        )
        projected: torch.Tensor = self.out_proj(found.transpose(1, 2).reshape(batch, length, size))
        return projected


def _turn(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines


class GatedMLP(nn.Module):
    """fc2(fc11(x) * silu(fc12(x)))."""

    def __init__(self, config: NomicBertConfig) -> None:
        super().__init__()
        size, inner = config.n_embd, config.n_inner
        self.fc11 = nn.Linear(size, inner, bias=config.mlp_fc1_bias)
        self.fc12 = nn.Linear(size, inner, bias=config.mlp_fc1_bias)
        self.fc2 = nn.Linear(inner, size, bias=config.mlp_fc2_bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """f32[batch, tokens, size]."""
        product: torch.Tensor = self.fc2(self.fc11(hidden) * functional.silu(self.fc12(hidden)))
        return product


class Block(nn.Module):
    """A layer; it normalises after each addition."""

    def __init__(self, config: NomicBertConfig) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(config), GatedMLP(config)
        self.norm1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.norm2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, turns: Any) -> torch.Tensor:
        """f32[batch, tokens, size]."""
        hidden = self.norm1(self.attn(hidden, mask, turns) + hidden)
        normed: torch.Tensor = self.norm2(self.mlp(hidden) + hidden)
        return normed


class Embeddings(nn.Module):
    """Of words and of the two kinds of tokens; all are of the first kind here."""

    def __init__(self, config: NomicBertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.n_embd)
        if config.type_vocab_size:
            self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.n_embd)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """f32[batch, tokens, size]."""
        found: torch.Tensor = self.word_embeddings(input_ids)
        if hasattr(self, "token_type_embeddings"):
            found = found + self.token_type_embeddings.weight[0]
        return found


class Encoder(nn.Module):
    """The layers."""

    def __init__(self, config: NomicBertConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(config) for _ in range(config.n_layer)])


class NomicBertModel(transformers.PreTrainedModel):  # type: ignore[misc]  # without types
    """The encoder, without a head."""

    config_class = NomicBertConfig
    base_model_prefix = "bert"
    _supports_sdpa = True

    def __init__(self, config: NomicBertConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.emb_ln = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.encoder = Encoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of words."""
        return self.embeddings.word_embeddings

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> BaseModelOutput:
        """i64[batch, tokens] each -> last_hidden_state f32[batch, tokens, size]."""
        hidden = self.emb_ln(self.embeddings(input_ids))
        mask = attention_mask.bool()[:, None, None, :]
        turns = self._turns(input_ids.shape[1])
        for layer in self.encoder.layers:
            hidden = layer(hidden, mask, turns)
        return BaseModelOutput(last_hidden_state=hidden)

    def _turns(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        size = self.config.n_embd // self.config.n_head
        exponents = torch.arange(0, size, 2, dtype=torch.float32) / size
        frequencies = 1.0 / self.config.rotary_emb_base**exponents
        angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()


def register_nomic_bert() -> None:
    """Make transformers' Auto classes know it."""
    if "nomic_bert" in transformers.CONFIG_MAPPING:
        return  # a later transformers has it
    config: Any = transformers.AutoConfig
    model: Any = transformers.AutoModel
    config.register("nomic_bert", NomicBertConfig)
    model.register(NomicBertConfig, NomicBertModel)
