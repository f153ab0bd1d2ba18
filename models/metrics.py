"""The metrics file of a learning job: one JSON object per line, without times, so that equal runs write equal bytes."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_metrics(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the rows, keys in the order given."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def finite(value: float) -> float | None:
    """A figure as JSON can hold it: None when it is not finite."""
    return value if math.isfinite(value) else None
