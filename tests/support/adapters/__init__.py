"""LoRA adapters in PEFT's files, for text models."""
