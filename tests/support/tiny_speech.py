"""Make speech models with random weights: Whisper and SpeechT5, with tokenizers of their forms."""

import json
import sys
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LANGUAGES = ("en", "de", "fr")
# Seconds of `tone` and the language of what transformers has heard, in heard.json.
HEARD = ((3, "en"), (12, "fr"))


def special_tokens() -> list[str]:
    """In the order of the ids of real models."""
    languages = [f"<|{language}|>" for language in LANGUAGES]
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    timestamps = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    start = ["<|endoftext|>", "<|startoftranscript|>", *languages]
    return [*start, *(f"<|{task}|>" for task in tasks), *timestamps]


def is_readable(token: str) -> bool:
    """Whether the text of a token is in ASCII and visible."""
    return len(token) > 1 or ("!" <= token <= "~")


def tone(seconds: float, rate: int = 16000) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """A tone that rises, with noise; the same for each length."""
    import numpy as np

    times = np.arange(int(rate * seconds)) / rate
    noise = np.random.default_rng(0).normal(size=len(times))
    wave = 0.3 * np.sin(2 * np.pi * (300 + 50 * times) * times) + 0.03 * noise
    return wave.astype(np.float32)


def make_whisper(folder: Path) -> None:
    """Write the model as transformers has it, with all special tokens, and what it hears."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    folder.mkdir(parents=True)
    # One token for each byte, and words of one letter.
    letters = [*bytes_to_unicode().values()]
    pairs = [f"Ġ{letter}" for letter in ascii_lowercase]
    vocab = {token: i for i, token in enumerate([*letters, *pairs])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    merges = [f"{pair[0]} {pair[1]}" for pair in pairs]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    # Timestamps are no special tokens, as in real models.
    first_time = special_tokens().index("<|0.00|>")
    tokenizer.add_special_tokens({"additional_special_tokens": special_tokens()[:first_time]})
    tokenizer.add_tokens(special_tokens()[first_time:])
    ids = dict(
        zip(special_tokens(), tokenizer.convert_tokens_to_ids(special_tokens()), strict=True)
    )
    end = ids["<|endoftext|>"]
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=max(ids.values()) + 1,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_target_positions=96,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        # The default makes all audio alike.
        init_std=0.5,
    )
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        # Real models write no timestamps that nobody asks for; transformers would never end.
        model.model.decoder.embed_tokens.weight[ids["<|startoftranscript|>"] :] *= 0.1
    model.generation_config = GenerationConfig(
        alignment_heads=[[1, 0], [1, 1]],
        begin_suppress_tokens=[220, end],
        bos_token_id=end,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        eos_token_id=end,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": ids[f"<|{language}|>"] for language in LANGUAGES},
        max_initial_timestamp_index=50,
        max_length=90,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        pad_token_id=end,
        prev_sot_token_id=ids["<|startofprev|>"],
        return_timestamps=False,
        # Only what can be read. openvino-genai 2026.4 ends the process where it divides a window
        # into words that begins with a part of a character.
        suppress_tokens=[i for token, i in vocab.items() if not is_readable(token)],
        task_to_id={task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
    )
    model.save_pretrained(folder)
    features = WhisperFeatureExtractor()
    WhisperProcessor(features, tokenizer).save_pretrained(folder)
    heard: list[dict[str, object]] = []
    for seconds, language in HEARD:
        inputs = features(tone(seconds), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            answer = model.generate(inputs.input_features, language=language, task="transcribe")
        text = tokenizer.decode(answer[0], skip_special_tokens=True)
        heard.append({"seconds": seconds, "language": language, "text": text})
    (folder / "heard.json").write_text(json.dumps(heard))


def make_speecht5(folder: Path) -> None:
    """Write the model and its vocoder as transformers has them."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        PreTrainedTokenizerFast,
        SpeechT5Config,
        SpeechT5ForTextToSpeech,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    folder.mkdir(parents=True)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *ascii_lowercase, *ascii_uppercase, *".,!?'"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = SpeechT5Config(
        vocab_size=len(pieces),
        hidden_size=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        speech_decoder_prenet_units=32,
        speech_decoder_prenet_dropout=0.0,
        speech_decoder_postnet_units=32,
        initializer_range=0.3,
    )
    model = SpeechT5ForTextToSpeech(config).eval()
    # Else it stops at once.
    torch.nn.init.constant_(model.speech_decoder_postnet.prob_out.bias, -5.0)
    model.save_pretrained(folder)
    vocoder = SpeechT5HifiGanConfig(upsample_initial_channel=32, initializer_range=0.1)
    SpeechT5HifiGan(vocoder).eval().save_pretrained(folder / "vocoder")


def export(source: Path, to: Path, task: str, **settings: object) -> None:
    """Convert a model to f32 IR files, the tokenizer as well."""
    from optimum.exporters.openvino import main_export
    from optimum.exporters.openvino.convert import export_tokenizer
    from optimum.intel import OVConfig
    from transformers import AutoTokenizer

    main_export(str(source), to, task=task, ov_config=OVConfig(dtype="fp32"), **settings)
    export_tokenizer(AutoTokenizer.from_pretrained(source), to, task=task)


def make(folder: Path) -> None:
    """Write `whisper` and `speecht5`, and the models of transformers in `source`."""
    source = folder / "source"
    make_whisper(source / "whisper")
    export(source / "whisper", folder / "whisper", "automatic-speech-recognition-with-past")
    make_speecht5(source / "speecht5")
    kwargs = {"vocoder": str(source / "speecht5" / "vocoder")}
    export(source / "speecht5", folder / "speecht5", "text-to-audio", model_kwargs=kwargs)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
