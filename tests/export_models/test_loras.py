import re

import pytest

from export_models.loras import LoraAdapter, LoraMixture, parse_loras


@pytest.mark.parametrize(
    ("text", "adapter"),
    [
        ("a=org/repo", LoraAdapter("a", "org/repo")),
        ("a=org/repo:0.75", LoraAdapter("a", "org/repo", None, 0.75)),
        ("a=org/repo@x.safetensors", LoraAdapter("a", "org/repo", "x.safetensors")),
        ("a=org/repo@x.safetensors:1.0", LoraAdapter("a", "org/repo", "x.safetensors", 1.0)),
        ("my-lora_v1.0=org/repo:-1", LoraAdapter("my-lora_v1.0", "org/repo", None, -1.0)),
        (
            "a=https://huggingface.co/org/repo/resolve/main/w.safetensors:0.5",
            LoraAdapter(
                "a", "https://huggingface.co/org/repo/resolve/main/w.safetensors", None, 0.5
            ),
        ),
        (
            "a=https://huggingface.co/org/repo/resolve/w.safetensors",
            LoraAdapter("a", "https://huggingface.co/org/repo/resolve/w.safetensors"),
        ),
    ],
)
def test_adapters(text: str, adapter: LoraAdapter) -> None:
    assert parse_loras(text) == ([adapter], [])


def test_a_mixture() -> None:
    adapters, mixtures = parse_loras("a=org/a, b=org/b,mix=@a:0.7+@b")
    assert [adapter.alias for adapter in adapters] == ["a", "b"]
    assert mixtures == [LoraMixture("mix", [("a", 0.7), ("b", None)])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no adapter"),
        ("org/repo", "has none of the forms alias=org/repo"),
        ("a=", "has none of the forms"),
        ("my lora=org/repo", "the alias 'my lora' may have letters"),
        ("my/lora=org/repo", "the alias"),
        ("a@b=org/repo", "the alias"),
        ("a=org/repo:abc", "the share 'abc' is not a number"),
        ("a=org/repo:0.5abc", "the share '0.5abc' is not a number"),
        ("a=org/repo@x.safetensors:2.5.32", "the share '2.5.32' is not a number"),
        ("a=org/repo:nan", "is not a number"),
        ("a=org/repo@x.bin", "x.bin: is no .safetensors file"),
        ("a=https://host/x.zip", "is no .safetensors file"),
        ("a=./lost.safetensors", "is no file here, and no Hugging Face id"),
        ("a=repo", "is no file here"),
        ("a=org/a,a=org/b", "the alias 'a' is given twice"),
        ("a=org/a,mix=@a+@lost", "mix: there is no adapter 'lost'; possible: a"),
        ("a=org/a,mix=@a+b", "parts of a mixture have the form @alias"),
        ("mix=@a", "names no adapter"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_loras(text)
