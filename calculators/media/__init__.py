"""Helpers of the calculators that make images and speech with openvino-genai; only they import it.

The libraries come with the extra [media].
"""
