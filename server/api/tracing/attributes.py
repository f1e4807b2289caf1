"""The attributes of a request's span, named by the GenAI conventions (v1.37 of OpenTelemetry's)."""

from collections.abc import Sequence
from time import monotonic

from server.api.request_facts import RequestFacts
from server.payloads import (
    ClientRequest,
    EmbeddingRequest,
    GenerationRequest,
    ImageRequest,
    SpeechRequest,
    TranscriptionRequest,
)

__all__ = ["Attributes", "attributes_of_answer", "attributes_of_request"]

Attributes = dict[str, str | int | float | bool | Sequence[str]]

SAMPLING = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
OUTPUT = "gen_ai.output.type"
NUM_CHOICES = "gen_ai.request.choice.count"


def attributes_of_request(packet: ClientRequest) -> Attributes:
    """What the client asked for, without its texts. Fields that it left out are left out here."""
    if isinstance(packet, GenerationRequest):
        return _of_generation(packet)
    if isinstance(packet, EmbeddingRequest) and packet.dimensions is not None:
        return {"gen_ai.embeddings.dimension.count": packet.dimensions}
    if isinstance(packet, SpeechRequest):
        return {OUTPUT: "speech"}
    if isinstance(packet, TranscriptionRequest):
        return {OUTPUT: "text"}
    return _of_image(packet) if isinstance(packet, ImageRequest) else {}


def _of_image(packet: ImageRequest) -> Attributes:
    found: Attributes = {OUTPUT: "image"}
    if packet.num_requests != 1:
        found[NUM_CHOICES] = packet.num_requests
    if packet.rng_seed is not None:
        found["gen_ai.request.seed"] = packet.rng_seed
    return found


def _of_generation(packet: GenerationRequest) -> Attributes:
    found: Attributes = {"gen_ai.response.id": packet.request_id}
    if packet.answer_format is not None:
        found[OUTPUT] = "json" if packet.answer_format.kind == "json" else "text"
    for field, value in packet.sampling.items():
        if field in SAMPLING and isinstance(value, int | float):
            found[SAMPLING[field]] = value
    num_choices = packet.sampling.get("n", 1)
    if num_choices != 1:
        found[NUM_CHOICES] = num_choices
    if packet.stop:
        found["gen_ai.request.stop_sequences"] = packet.stop
    return found


def attributes_of_answer(facts: RequestFacts, *, is_stream: bool) -> Attributes:
    """What is known at the end of a request."""
    found: Attributes = {"gen_ai.latency.e2e": monotonic() - facts.start_s}
    if facts.first_chunk_s is not None:
        time_to_first = facts.first_chunk_s - facts.start_s
        found["gen_ai.latency.time_to_first_token"] = time_to_first
        if is_stream:
            found["gen_ai.response.time_to_first_chunk"] = time_to_first
    if is_stream:
        found["gen_ai.request.stream"] = True
    if facts.last_chunks:
        usage = facts.usage()
        found["gen_ai.usage.input_tokens"] = usage["prompt_tokens"]
        found["gen_ai.usage.output_tokens"] = usage["completion_tokens"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        found["gen_ai.usage.cache_read.input_tokens"] = cached
        reasons = [chunk.finish_reason for _, chunk in sorted(facts.last_chunks.items())]
        found["gen_ai.response.finish_reasons"] = [reason or "error" for reason in reasons]
    elif facts.num_input_tokens is not None:
        found["gen_ai.usage.input_tokens"] = facts.num_input_tokens
    return found
