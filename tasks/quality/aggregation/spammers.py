"""Spammers: annotators who stand out by stated rules, each with the figure that the rule looked at. Nothing is done to them here."""

import polars as pl
from pydantic import Field

from data_contracts.records import FLAG
from tasks.quality.aggregation.verdicts import CHANCE
from tasks.stage import StageConfig


class SpammerRules(StageConfig):
    """When an annotator is flagged."""

    min_judgments: int = Field(default=30, ge=1, description="judgments that an annotator has to have before a rule looks")
    reliability_margin: float = Field(
        default=0.1, ge=0, le=0.5, description="`unreliable`: the reliability's interval ends below one half and this margin"
    )
    one_answer_share: float = Field(
        default=0.95,
        gt=0.5,
        le=1,
        description="`one_verdict`, `one_side`: share of the same verdict, or of decided verdicts for what stood in the same place",
    )
    fast_share: float = Field(
        default=0.25, ge=0, le=1, description="`fast`: median seconds per judgment below this share of the median annotator's; 0 is never"
    )


def behaviour(votes: pl.DataFrame) -> pl.DataFrame:
    """One row per named annotator, by id: how much, how monotonously, for which place, and how fast; null where nothing tells."""
    decided = (pl.col("verdict") != "tie") & pl.col("presented_first").is_not_null()
    chose_first = (pl.col("verdict") == pl.col("presented_first")).filter(decided).mean()
    shares = [(pl.col("verdict") == verdict).mean() for verdict in ("a", "tie", "b")]
    return (
        votes.filter(pl.col("annotator_id").is_not_null())
        .group_by("annotator_id")
        .agg(
            n_judgments=pl.len().cast(pl.Int64),
            one_verdict=pl.max_horizontal(shares),
            n_sided=decided.sum().cast(pl.Int64),
            one_side=pl.max_horizontal(chose_first, 1 - chose_first),
            n_timed=pl.col("seconds_spent").count().cast(pl.Int64),
            median_seconds=pl.col("seconds_spent").median(),
        )
        .sort("annotator_id")
    )


def flags(annotators: pl.DataFrame, rules: SpammerRules, action: str) -> pl.DataFrame:
    """One row per annotator and rule that they break, by both.

    Args:
        annotators: what `behaviour` gives, with `high`, the upper end of the reliability's interval.
        rules: the thresholds.
        action: what the recipe has done about it.
    """
    typical = annotators.filter(pl.col("n_timed") >= rules.min_judgments)["median_seconds"].median()
    fast = rules.fast_share * typical if isinstance(typical, float) else 0.0
    broken = [
        _broken(annotators, "unreliable", "high", "n_judgments", pl.col("high") < CHANCE + rules.reliability_margin, rules, action),
        _broken(annotators, "one_verdict", "one_verdict", "n_judgments", pl.col("one_verdict") >= rules.one_answer_share, rules, action),
        _broken(annotators, "one_side", "one_side", "n_sided", pl.col("one_side") >= rules.one_answer_share, rules, action),
        _broken(annotators, "fast", "median_seconds", "n_timed", pl.col("median_seconds") < fast, rules, action),
    ]
    return pl.concat(broken).sort("annotator_id", "rule").select(FLAG.schema.names)


def _broken(frame: pl.DataFrame, rule: str, figure: str, n: str, breaks: pl.Expr, rules: SpammerRules, action: str) -> pl.DataFrame:
    found = frame.filter(breaks & (pl.col(n) >= rules.min_judgments))
    return found.select(
        "annotator_id",
        rule=pl.lit(rule),
        figure=pl.col(figure).cast(pl.Float64),
        n_judgments=pl.col(n),
        action=pl.lit(action),
    )
