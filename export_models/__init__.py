"""Export of Hugging Face models to folders that the server serves."""
