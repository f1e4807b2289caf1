"""Log probabilities of tokens under the model itself, before anything shapes its logits."""

import numpy as np
import numpy.typing as npt

from server.payloads import TokenIdLogprobs

Floats = npt.NDArray[np.float32]


def chosen_logprobs(row: Floats, token: int, num_top: int) -> TokenIdLogprobs:
    """The log probability of a token and of the `num_top` likeliest ones, from a row of logits."""
    highest = row.max()
    norm = highest + np.log(np.exp(row - highest).sum(dtype=np.float64))
    if num_top == 0:
        return TokenIdLogprobs(token, float(row[token] - norm))
    num_top = min(num_top, len(row))
    likeliest = np.argpartition(row, len(row) - num_top)[len(row) - num_top :]
    likeliest = likeliest[np.argsort(-row[likeliest], kind="stable")]
    top = tuple((int(i), float(row[i] - norm)) for i in likeliest)
    return TokenIdLogprobs(token, float(row[token] - norm), top)
