"""The majority: the share of each verdict, and how often an annotator goes with the majority of the others."""

import numpy as np

from tasks.quality.aggregation.verdicts import A, Aggregated, B, Reliability, Verdicts

PRIOR_RIGHT = PRIOR_WRONG = 1.0
"""Pseudo-verdicts of an annotator: a uniform prior on the share (Laplace's rule of succession)."""


def majority(verdicts: Verdicts) -> Aggregated:
    """Aggregate by vote shares; a comparison without verdicts gets a third each.

    A decided verdict is right where it goes with the majority of the comparison's other verdicts; where the others are even it says
    nothing. The standard error is that of the Beta posterior of this share.
    """
    counts = verdicts.counts()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, 1 / 3), where=totals > 0)
    sign = np.array([1.0, 0.0, -1.0])[verdicts.verdict]
    margin = (counts[:, A] - counts[:, B])[verdicts.comparison] - sign * verdicts.weight
    right = verdicts.by_annotator(np.asarray((sign * margin > 0) * 1.0)) + PRIOR_RIGHT
    wrong = verdicts.by_annotator(np.asarray((sign * margin < 0) * 1.0)) + PRIOR_WRONG
    value = right / (right + wrong)
    reliability = Reliability.of(value, np.sqrt(value * (1 - value) / (right + wrong + 1)))
    return Aggregated(shares, reliability, first_bias=np.nan, iterations=0, converged=True)
