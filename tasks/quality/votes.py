"""Which judgments count as votes: the one place that agreement and preferences share."""

from collections.abc import Collection

import polars as pl


def votes_that_count(judgments: pl.DataFrame, kinds: Collection[str]) -> pl.DataFrame:
    """Of an annotator's judgments on one comparison the latest; of nobody known every one. Sorted by judgment id.

    Latest is by event time. Among judgments without one, or with the same, the last by judgment id counts: which that is says
    nothing, but it is always the same.

    Args:
        judgments: current judgments.
        kinds: kinds of annotators whose judgments count.
    """
    votes = judgments.filter(pl.col("annotator_kind").is_in(list(kinds))).sort("event_time", "judgment_id")
    anonymous = votes.filter(pl.col("annotator_id").is_null())
    named = votes.filter(pl.col("annotator_id").is_not_null()).unique(["comparison_id", "annotator_id"], keep="last", maintain_order=True)
    return pl.concat([anonymous, named]).sort("judgment_id")
