"""The flags that `server` and `export_model` have in common, with their help."""

__all__ = ["EXPORT_HELP", "NO_VERIFY_HELP"]

NO_VERIFY_HELP = (
    "Do not compare the exported model with its source and its PagedAttention form, nor its "
    "tokenizer with that of the source."
)

EXPORT_HELP = {
    "--weight-format": "How weights are stored: fp32, fp16, int8 or int4 (default: int8). int8 is "
    "int8_sym, one scale for each output channel, on a CPU with AMX, which runs that form faster, "
    "and int8_asym elsewhere. int4 is int4_sym on a CPU and int4_asym elsewhere, in groups of 128. "
    "An OpenVINO model keeps the weights that it has.",
    "--extra_quantization_params": "More flags for optimum-cli export openvino, as one string: "
    "'--sym --ratio 1.0'. They then say alone how weights are stored.",
    "--quant_mode": "int8 quantizes activations too, with SmoothQuant, instead of "
    "--weight-format. --extra_quantization_params may then hold --sym, --num-samples and "
    "--smooth-quant-alpha.",
    "--calibration_file": "Texts on which --quant_mode measures activations. One text per line, "
    'or JSON objects with "text" or "messages"; the first 128 are used (default: what the model '
    "generates in a few chats).",
    "--pipeline_type": "LM_CB, continuous batching of a text model. LM and AUTO mean the same "
    "here.",
    "--kv_cache_precision": "Precision of the KV cache: u8 (default: the model's, or what tuning "
    "at load finds fastest).",
    "--enable_prefix_caching": "Keep the KV cache of prompts for later prompts that begin with the "
    "same tokens: true or false (default: true).",
    "--max_num_batched_tokens": "Most tokens that one step of the engine computes.",
    "--max_num_seqs": "Most sequences that are computed at the same time (default: 256).",
    "--cache_size": "Size of the KV cache in GB (default: 0, a share of the free memory).",
    "--cache_interval_multiplier": "For models with linear attention or convolutions: the prefix "
    "cache keeps their states after every so many KV blocks (default: adapted to their size).",
    "--tool_parser": "Format of the model's tool calls (default: detected from the chat template).",
    "--reasoning_parser": "Format of the model's reasoning (default: detected from the chat "
    "template).",
    "--enable_tool_guided_generation": "Make tool calls follow the schemas of the tools' "
    "parameters, by constrained decoding: true or false (default: false).",
    "--max_prompt_len": "Longest prompt, for NPU only. NPU is not supported yet.",
}
