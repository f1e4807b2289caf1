"""What the source model is asked in torch."""

from types import SimpleNamespace

import numpy as np
import pytest


@pytest.mark.parametrize(("model_type", "num_read"), [("zamba2", 1), ("mamba", 2)])
def test_prompts_that_transformers_computes_wrongly_are_left_out(
    exporters: None, model_type: str, num_read: int
) -> None:
    from export_models.verification.source_model import _without_wrong_ones

    config = SimpleNamespace(model_type=model_type, chunk_size=16)
    prompts = [np.zeros(length, np.int64) for length in (17, 18)]
    kept, notes = _without_wrong_ones(prompts, config)
    assert len(kept) == num_read
    assert len(notes) == 2 - num_read


def test_an_encoder_reads_the_first_half(exporters: None) -> None:
    import torch
    import transformers

    from export_models.verification.source_model import _read_encoded

    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = transformers.T5Config(**sizes, vocab_size=30, decoder_start_token_id=2)
    model = transformers.T5ForConditionalGeneration(config).eval()
    prompt = np.arange(3, 12)
    logits, tokens = _read_encoded(np.array([2]), model, prompt)
    # transformers makes the decoder's text of the labels itself, with its start token.
    with torch.inference_mode():
        expected = model(
            input_ids=torch.tensor(prompt[None, :4]), labels=torch.tensor(prompt[None, 4:])
        ).logits[0]
    assert tokens.tolist() == prompt[4:].tolist()
    assert torch.allclose(logits, expected, atol=1e-5)
