"""Lets tests import tests/fakes.py: pytest's importlib mode adds no folder to sys.path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
