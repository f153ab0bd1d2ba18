"""How much a judgment of a pair would tell.

Shapes: N pairs, K members of the reward model.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def information(differences: Floats) -> Floats:
    """Bits (N,) that the verdict on each pair is expected to tell, from the members' score differences (N, K).

    Of an ensemble, the mutual information between the verdict and which member is right: the entropy of the mean probability less the
    mean entropy (BALD; Houlsby et al., 2011). So a pair on which all members are in doubt, which is a coin's toss to people too, tells
    nothing, and one on which they contradict each other tells most. A single member cannot contradict itself: there it is the entropy.
    """
    probabilities = 1 / (1 + np.exp(-differences))
    of_the_mean = _entropy(probabilities.mean(axis=1))
    return of_the_mean if differences.shape[1] == 1 else of_the_mean - _entropy(probabilities).mean(axis=1)


def _entropy(probability: Floats) -> Floats:
    """Entropy of a coin, in bits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p > 0, -p * np.log2(p), 0.0) for p in (probability, 1 - probability)]
    return terms[0] + terms[1]
