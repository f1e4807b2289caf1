"""What tests need of the CPU that they run on."""

import openvino as ov
import pytest

from server.host.cpu_features import has_vnni

CAPABILITIES = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

needs_bf16 = pytest.mark.skipif("BF16" not in CAPABILITIES, reason="this CPU has no bf16")
needs_vnni = pytest.mark.skipif(not has_vnni(), reason="this CPU has no VNNI; int8 sums saturate")
