import numpy as np
import pytest

from calculators.rerank.scores import activate, best_scores


def rows(*values: list[float]) -> list[np.ndarray]:
    return [np.array(row, np.float32) for row in values]


def test_a_pair_has_the_best_of_its_rows() -> None:
    found = best_scores(rows([1], [-3], [2], [-5]), [0, 1, 0, 1], 2)
    assert found.tolist() == [2, -3]


def test_of_several_labels_the_second_one_counts() -> None:
    assert best_scores(rows([9, 1, 8], [7, 2, 9]), [0, 1], 2).tolist() == [1, 2]


def test_activations_do_not_overflow() -> None:
    huge = np.array([-1e4, 0, 1e4], np.float32)
    assert activate(huge, "sigmoid").tolist() == [0, 0.5, 1]
    assert activate(huge, "softmax").tolist() == [0, 0, 1]
    assert activate(huge, "none").tolist() == huge.tolist()
    assert activate(np.log(np.array([1, 3], np.float32)), "softmax") == pytest.approx([0.25, 0.75])
