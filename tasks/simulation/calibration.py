"""How well probabilities of a preference agree with what is true: accuracy, log loss, Brier score, calibration error.

A preference is taken as two-sided: the probability that the first response is the better one, a tie counting half.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST = 1e-3
"""Probabilities are kept this far from 0 and 1 in the log loss; vote shares are 1 by three votes."""
BINS = 10


def calibration_figures(probabilities: Floats, differences: Floats) -> dict[str, float]:
    """Figures by name, over the comparisons whose responses truly differ; nan where there are none.

    Args:
        probabilities: (N,) that the first response is the better one.
        differences: (N,) true reward of the first response less that of the second.
    """
    differ = differences != 0
    p, truth = probabilities[differ], (differences[differ] > 0).astype(np.float64)
    if not len(p):
        return dict.fromkeys(("accuracy", "log_loss", "brier", "calibration_error"), float("nan"))
    kept = np.clip(p, LEAST, 1 - LEAST)
    return {
        "accuracy": float(((np.sign(p - 0.5) * np.sign(truth - 0.5) + 1) / 2).mean()),
        "log_loss": float(-(truth * np.log(kept) + (1 - truth) * np.log(1 - kept)).mean()),
        "brier": float(((p - truth) ** 2).mean()),
        "calibration_error": calibration_error(p, truth),
    }


def calibration_error(probabilities: Floats, truth: Floats) -> float:
    """Expected calibration error: mean |share of truth - mean probability| of bins of equal width, weighted by their size.

    M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015.
    """
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, truth, BINS) - np.bincount(bins, probabilities, BINS)
    return float(np.abs(gaps).sum() / len(probabilities))
