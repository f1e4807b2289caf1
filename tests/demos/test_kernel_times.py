"""demos/benchmark/kernel_times.py accounts for the whole of a step."""

from pathlib import Path

import kernel_times


def test_kernels_and_what_is_between_them_make_a_step(tiny_model: Path) -> None:
    times = kernel_times.measure(tiny_model, {"KV_CACHE_PRECISION": "u8"}, 3, 20)
    kinds = {(part, node_type) for part, node_type, _ in times.kernels}
    assert ("layers", "PagedAttentionExtension") in kinds
    assert any(part == "head" and "FullyConnected" in node for part, node in kinds)
    in_kernels_ms = sum(ms for ms, _ in times.kernels.values())
    assert 0 < in_kernels_ms < times.step_ms
    lines = kernel_times.render(times, 3, least_ms=0.0).splitlines()
    assert lines[0].startswith("| 3 sequences |")
    shares = [int(line.split("|")[4]) for line in lines[2:]]
    assert shares[-1] == 100
    assert abs(sum(shares[:-1]) - 100) < len(shares)
