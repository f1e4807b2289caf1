"""The request fields that have no effect, and those that are refused, at each endpoint.

Fields that have an effect are members of the endpoint's pydantic model. The table in docs/api.md is
made from both.
"""

from collections.abc import Mapping

from server.protocol.field_rules import Alias, FieldRules, Hint, Refused, Rule

__all__ = ["CHAT", "COMPLETIONS", "RESPONSES", "TOKENIZE"]

ONLY_TEXT = "only text is served"
NOT_STORED = "responses are not stored"
NO_CUSTOM_CODE = "the server runs no code of clients"
OTHER_SAMPLER = "the server does not have this sampling method"
NO_ADAPTERS = "an adapter is named as `model`"
NO_WEB = "the server does not search the web"

# They describe the caller, or how a provider should store, bill, route, cache or speed up a call.
CALL_HINTS: Mapping[str, Rule] = {
    "cache_prompt": Hint("prefixes are cached whenever the graph allows it (llama.cpp)", bool),
    "guided_decoding_backend": Hint("there is one way to constrain answers (vLLM)", str),
    "id_slot": Hint("there are no slots (llama.cpp)"),
    "ec_transfer_params": Hint("there is one server (vLLM)"),
    "kv_transfer_params": Hint("there is one server (vLLM)"),
    "keep_alive": Hint("models stay loaded (Ollama)"),
    "metadata": Hint("notes of the caller; a response repeats them", dict),
    "prediction": Hint("it could only make the answer faster", dict),
    "prompt_cache_key": Hint("the prefix cache needs no key; see `cache_salt`", str),
    "prompt_cache_retention": Hint("cached prefixes stay while there is room", str),
    "provider": Hint("there is one provider (OpenRouter)"),
    "request_id": Hint("the server makes an id for each answer (vLLM)", str),
    "rid": Hint("the server makes an id for each answer (SGLang)"),
    "safety_identifier": Hint("names the caller", str),
    "service_tier": Hint("there is one tier", str),
    "session_id": Hint("names the session of the caller (vLLM)", str),
    "store": Hint(NOT_STORED, bool),
    "stream_interval": Hint("tokens are sent as they come (vLLM)"),
    "t_max_prompt_ms": Hint("prompts have no time limit (llama.cpp)"),
    "user": Hint("names the caller", str),
    "verbosity": Hint("the model cannot be asked for less or more", str),
}
# Companions of other fields: without those they change nothing.
TUNING_HINTS: Mapping[str, Rule] = {
    "branching_factor": Hint("shapes the trees of EAGLE-3 drafts (Model Server)"),
    "dry_allowed_length": Hint("tunes `dry_multiplier`"),
    "dry_base": Hint("tunes `dry_multiplier`"),
    "dry_penalty_last_n": Hint("tunes `dry_multiplier`"),
    "dry_sequence_breakers": Hint("tunes `dry_multiplier`"),
    "dynatemp_exponent": Hint("tunes `dynatemp_range`"),
    "media_io_kwargs": Hint(ONLY_TEXT, dict),
    "mirostat_eta": Hint("tunes `mirostat`"),
    "mirostat_tau": Hint("tunes `mirostat`"),
    "mm_processor_kwargs": Hint(ONLY_TEXT, dict),
    "n_discard": Hint("a context is never shifted (llama.cpp)"),
    "n_keep": Hint("a context is never shifted (llama.cpp)"),
    "spaces_between_special_tokens": Hint("the detokenizer of the model decides (vLLM)", bool),
    "speculative.n_min": Hint("as many tokens are proposed as pay (llama.cpp)"),
    "speculative.p_min": Hint("as many tokens are proposed as pay (llama.cpp)"),
    "tree_depth": Hint("shapes the trees of EAGLE-3 drafts (Model Server)"),
    "xtc_threshold": Hint("tunes `xtc_probability`"),
}
OTHER_NAMES: Mapping[str, Rule] = {
    "max_new_tokens": Alias("max_tokens"),
    "no_stop_trim": Alias("include_stop_str_in_output"),
    "min_new_tokens": Alias("min_tokens"),
    "n_predict": Alias("max_tokens"),
    "random_seed": Alias("seed"),
    "repeat_penalty": Alias("repetition_penalty"),
    "speculative.n_max": Alias("num_assistant_tokens"),
}
# They would change the answer, and cannot be had.
REFUSED: Mapping[str, Rule] = {
    "adapter_id": Refused(NO_ADAPTERS),
    "custom_logit_processor": Refused(NO_CUSTOM_CODE),
    "custom_params": Refused(NO_CUSTOM_CODE),
    "data_sources": Refused(NO_WEB),
    "do_sample": Refused("`temperature` 0 always takes the likeliest token", (True,)),
    "dry_multiplier": Refused(OTHER_SAMPLER),
    "dynatemp_range": Refused(OTHER_SAMPLER),
    "enable_search": Refused(NO_WEB),
    "epsilon_cutoff": Refused(OTHER_SAMPLER),
    "eta_cutoff": Refused(OTHER_SAMPLER),
    "guided_whitespace_pattern": Refused("the server itself limits white space in JSON answers"),
    "guideline": Refused("put it into a system message"),
    "image_data": Refused(ONLY_TEXT),
    "images": Refused(ONLY_TEXT),
    "input_embeds": Refused("prompts are texts or token ids"),
    "logit_processor": Refused(NO_CUSTOM_CODE),
    "logits_processors": Refused(NO_CUSTOM_CODE),
    "logprob_token_ids": Refused("only the likeliest tokens are reported", ([],)),
    "lora": Refused(NO_ADAPTERS),
    "lora_path": Refused(NO_ADAPTERS),
    "min_keep": Refused(OTHER_SAMPLER, (0, 1)),
    "mirostat": Refused(OTHER_SAMPLER),
    "moderation": Refused("the server does not moderate answers"),
    "n_indent": Refused(OTHER_SAMPLER),
    "n_probs": Refused("see `logprobs`"),
    "post_sampling_probs": Refused("log probabilities are the model's own"),
    "prompt_embeds": Refused("prompts are texts or token ids"),
    "repetition_detection": Refused("an answer ends at its end token, a stop string or a limit"),
    "return_full_text": Refused("see `echo`"),
    "return_hidden_states": Refused("answers hold only texts"),
    "return_prompt_text": Refused("see `/tokenize`"),
    "return_routed_experts": Refused("answers hold only texts"),
    "safe_prompt": Refused("put it into a system message"),
    "samplers": Refused("the order of samplers is fixed"),
    "search_parameters": Refused(NO_WEB),
    "separate_reasoning": Refused("reasoning is always a separate member", (True,)),
    "session_params": Refused("no session is kept"),
    "stop_regex": Refused("only texts and tokens end an answer; see `stop`"),
    "t_max_predict_ms": Refused("answers have no time limit of their own", (0, -1)),
    "template": Refused("the model's chat template is used"),
    "tool_prompt": Refused("put it into a system message"),
    "tfs_z": Refused(OTHER_SAMPLER, (1,)),
    "top_a": Refused(OTHER_SAMPLER),
    "top_n_sigma": Refused(OTHER_SAMPLER, (-1, 0)),
    "truncation_side": Refused("a long prompt can only be cut at its beginning", ("left",)),
    "typical_p": Refused(OTHER_SAMPLER, (1, 0)),
    "use_logits_processors": Refused(NO_CUSTOM_CODE),
    "videos": Refused(ONLY_TEXT),
    "vllm_xargs": Refused(NO_CUSTOM_CODE),
    "watermark": Refused(OTHER_SAMPLER),
    "watermarking": Refused(OTHER_SAMPLER),
    "web_search_options": Refused(NO_WEB, ()),
    "xtc_probability": Refused(OTHER_SAMPLER),
}
SHARED: Mapping[str, Rule] = {**CALL_HINTS, **TUNING_HINTS, **OTHER_NAMES, **REFUSED}

CHAT = FieldRules(
    {
        **SHARED,
        "add_special_tokens": Refused("the chat template writes them", (False,)),
        "audio": Refused(ONLY_TEXT, ()),
        "chat_template": Refused(
            "it is set when the model is loaded, by `--chat_template` or in its graph", ()
        ),
        "echo": Refused("a chat answers with a new message", (False,)),
        "function_call": Refused("use `tools` and `tool_choice`", ("none", "auto")),
        "functions": Refused("use `tools`", ([],)),
        "max_output_tokens": Alias("max_completion_tokens"),
        "modalities": Refused(ONLY_TEXT, (["text"],)),
        "thinking_budget": Alias("thinking_token_budget"),
        "thinking_budget_tokens": Alias("thinking_token_budget"),
    }
)
COMPLETIONS = FieldRules(
    {
        **SHARED,
        "add_special_tokens": Refused("send token ids as the prompt", (True,)),
        "max_completion_tokens": Alias("max_tokens"),
        "suffix": Refused("a text is continued at its end", ("",)),
    }
)
# A response repeats these, so they are members of its model.
REPEATED = {"metadata", "prompt_cache_key", "safety_identifier", "store", "user"}
RESPONSES = FieldRules(
    {
        **{name: rule for name, rule in SHARED.items() if name not in REPEATED},
        "background": Refused(NOT_STORED, (False,)),
        "chat_template": Refused(
            "it is set when the model is loaded, by `--chat_template` or in its graph", ()
        ),
        "context_management": Hint("input is never made shorter"),
        "conversation": Refused(f"{NOT_STORED}; send the earlier items in `input`", ()),
        "max_completion_tokens": Alias("max_output_tokens"),
        "previous_response_id": Refused(f"{NOT_STORED}; send the earlier items in `input`", ()),
        "prompt": Refused("no prompts are stored", ()),
        "truncation": Hint("a prompt that is too long is refused, never cut", str),
    }
)
TOKENIZE = FieldRules(
    {
        "chat_template": Refused("the model's chat template is used", ()),
        "mm_processor_kwargs": Hint(ONLY_TEXT, dict),
    }
)
