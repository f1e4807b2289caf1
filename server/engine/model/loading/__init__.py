"""Reads and compiles the files of a model. Part of `model`, which alone imports it."""
