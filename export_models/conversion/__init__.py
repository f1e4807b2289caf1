"""Conversion of Hugging Face models to OpenVINO, by tools that run as processes of their own.

Modules that import torch are such processes; none of the others may import them.
"""
