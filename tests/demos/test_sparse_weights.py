"""sparse_weights.py zeroes as many weights as it says; both ways of reading give equal tokens."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import sparse_weights

from server.host.model_files import MODEL_FILE


def test_a_part_of_every_matrix_but_the_largest_is_zeroed(tiny_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    num_matrices = sparse_weights.zero_weights(copy, 0.75)
    assert num_matrices >= 2 * 7
    xml = copy / MODEL_FILE
    weights = np.fromfile(xml.with_suffix(".bin"), np.int8)
    matrices = sorted(sparse_weights._int8_matrices(xml), key=lambda matrix: matrix[1])
    zeros = [np.mean(weights[begin : begin + size] == 0) for begin, size in matrices]
    assert len(zeros) == num_matrices + 1
    assert zeros[:-1] == pytest.approx([0.75] * num_matrices, abs=0.05)
    assert zeros[-1] < 0.1
    for num, compressed, plain, is_equal in sparse_weights.measure(copy, [1, 3]):
        assert num in (1, 3)
        assert min(compressed, plain) > 0
        assert is_equal
