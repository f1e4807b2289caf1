"""The flags that `server` and `export_model` have in common, with their help."""

__all__ = ["EXPORT_HELP", "NO_VERIFY_HELP", "TASK_HELP"]

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
    "--draft_source_model": "Draft model for speculative decoding, a smaller one with the same "
    "tokenizer: a Hugging Face id or a folder. It is exported into the folder of the model.",
    "--tool_parser": "Format of the model's tool calls (default: detected from the chat template).",
    "--reasoning_parser": "Format of the model's reasoning (default: detected from the chat "
    "template).",
    "--enable_tool_guided_generation": "Make tool calls follow the schemas of the tools' "
    "parameters, by constrained decoding: true or false (default: false).",
    "--max_prompt_len": "Longest prompt, for NPU only. NPU is not supported yet.",
}

TASK_HELP = {
    "--draft_model_path": "Folder of a draft model in OpenVINO's form, for speculative decoding: a "
    "smaller model with the same tokenizer.",
    "--num_streams": "Number of requests or batches that OpenVINO computes at the same time.",
    "--pooling": "How a text's vector is made of those of its tokens: CLS, LAST or MEAN (default: "
    "what the model's 1_Pooling/config.json says, else CLS).",
    "--max_allowed_chunks": "Most pieces of documents in a request (default: 10000).",
    "--resolution": "Sizes of images that are possible, WxH, separated by blanks. With a single "
    "one the model is compiled for that size.",
    "--guidance_scale": "Guidance scale that the model is compiled for, with --resolution.",
    "--num_images_per_prompt": "Number of images of a request that the model is compiled for, with "
    "--resolution.",
    "--max_resolution": "Largest size of an image, WxH (default: 4096x4096).",
    "--default_resolution": "Size of images whose request names none, WxH (default: the model's).",
    "--max_num_images_per_prompt": "Most images of a request (default: 10).",
    "--default_num_inference_steps": "Steps of requests that name no number (default: 50).",
    "--max_num_inference_steps": "Most steps of a request (default: 100).",
    "--source_loras": "LoRA adapters, separated by commas: alias=org/repo, alias=org/repo@file, a "
    "URL or a file, each with :alpha if it is not 1. alias=@first:0.7+@second:0.5 is a mixture of "
    "others.",
    "--model_type": "Kind of the model: speecht5 or kokoro (default: what its config.json says).",
    "--vocoder": "Model that makes sound of SpeechT5's spectrograms: a Hugging Face id, such as "
    "microsoft/speecht5_hifigan, or a folder.",
}
