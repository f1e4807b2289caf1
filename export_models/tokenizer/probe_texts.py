"""Texts on which tokenizers are compared: what people write, and what tokenizers stumble over."""

# ruff: noqa: RUF001  # letters that look alike are what these texts are for
from collections.abc import Iterable

__all__ = ["probe_texts"]

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "",
    " leading blank",
    "   three leading blanks",
    "trailing blank ",
    "two trailing blanks  ",
    "a  b   c    d",
    " ",
    "   ",
    "\n",
    "\n\n\n",
    "a\tb\t\tc\nd\r\ne \n f",
    "1 12 123 1234 12345 3.14 1,000,000 2024-12-31",
    "def f(x):\n    return x + 1  # it's\n\n\tpass\n",
    '{"a": [1, 2.5e-3, null], "b": "<tag attr=\'x\'/>"}',
    "Don't we'll they've IT'S I'm you'RE",
    "Grüße aus Köln, čeština, naïve façade, Türkçe",
    "ελληνικά και Русский текст, Українська",
    "日本語のテキスト 中文测试，简体與繁體 한국어 문장",
    "עברית وكلمات عربية فارسی",
    "हिन्दी বাংলা தமிழ் ไทย ភាសាខ្មែរ မြန်မာ አማርኛ ქართული հայերեն",
    "😀👍🏽 👩‍👩‍👧 🏳️‍🌈 ❤️ 1️⃣",
    "é ö Å ñ",
    "e\u0301 o\u0308 A\u030a n\u0303",
    "ﬁ ① ｈｅｌｌｏ ² Ⅳ ½",
    "a\x01b\x1bc\x7fd\x00e",
    "a\u00a0b\u2003c\u200bd\u3000e\ufeff",
    "“quotes” — … ¿¡ «x» $€£ @#%^&*()_+-=~`|\\",
    "MiXeD cAsE ß İ",
    "𝔘𝔫𝔦 𐍈 𓀀",
    "hello world " * 200,
    "a" * 200,
)
MAX_ADDED_TOKENS = 30


def probe_texts(added_tokens: Iterable[str]) -> list[str]:
    """All texts, with some that hold the added tokens of a tokenizer."""
    names = list(added_tokens)
    # The last ones are those of chats; the first ones those of the original vocabulary.
    half = MAX_ADDED_TOKENS // 2
    names = names if len(names) <= MAX_ADDED_TOKENS else names[:half] + names[-half:]
    texts = [f"a{name}b {name} c" for name in names if name.strip()]
    return [*TEXTS, *texts, *(["".join(names)] if names else [])]
