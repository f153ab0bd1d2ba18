"""Where random numbers come from: seeds derived from names, and counter-based streams that depend on nothing else.

No job draws from a global generator after its weights are initialised, so no generator's state has to be saved and restored.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed for what the parts name, such as `derive_seed(config.seed, "rollout", update, prompt_id)`."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A random generator for what the parts name."""
    return np.random.Generator(np.random.Philox(derive_seed(*parts)))


def uniforms(seeds: Sequence[int], count: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), shape (len(seeds), count): row i depends on seed i alone, and its start not on `count`."""
    rows = [np.random.Generator(np.random.Philox(seed)).random(count) for seed in seeds]
    return np.stack(rows) if rows else np.empty((0, count))
