"""A request: the comparisons that people are asked for next, kept as an artifact, so that what was asked can be audited."""

from pathlib import Path

import duckdb
import polars as pl
from pydantic import Field, model_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import InputError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import open_current, views_version
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_records
from data_contracts.records import REQUESTED
from models.configs import ProposalConfig
from models.requests.propose_pairs import BASE, CHAMPION
from tasks.learning.training import make_learned
from tasks.requests.selection import GOLD, RANDOM, REPEATED, select
from tasks.stage import StageConfig

REQUEST_FILE = "request.parquet"


class RequestConfig(StageConfig):
    """What people are asked for."""

    n: int = Field(default=500, ge=1, description="comparisons that are asked for")
    random_share: float = Field(default=0.25, ge=0, le=1, description="share of them drawn at random, so that statistics stay honest")
    gold_share: float = Field(default=0.05, ge=0, le=1, description="share of them whose verdict is known, as far as there are such")
    repeated_share: float = Field(default=0.05, ge=0, le=1, description="share of them that people judged before, as far as there are such")
    source: str = Field(description="name of the source that the judgments will come back in")
    seed: int = Field(default=0, ge=0, description="another seed gives another request")

    @model_validator(mode="after")
    def _shares_are_shares(self) -> "RequestConfig":
        if self.random_share + self.gold_share + self.repeated_share > 1:
            raise ValueError("random_share, gold_share and repeated_share come to more than 1")
        return self


def propose(
    home: Home, config: ProposalConfig, *, base_model: Artifact, champion: Artifact | None, reward_model: Artifact, prompts: Artifact
) -> Made:
    """Pairs of responses that people could compare, with how much each verdict would tell."""
    inputs = {"base_model": base_model, "champion": champion, "reward_model": reward_model, "prompts": prompts}
    return make_learned(home, "proposals", "propose_pairs", config, inputs)


def make_request(
    home: Home, config: RequestConfig, *, proposals: Artifact, snapshot: Artifact, base_model: Artifact, champion: Artifact | None
) -> Made:
    """Choose the comparisons of a request.

    Raises:
        InputError: there is nothing to ask for.
    """
    inputs = {"proposals": proposals, "snapshot": snapshot, "base_model": base_model, "champion": champion}
    identity = Identity(
        kind="request",
        code_version=f"{code_version('tasks.requests.request')}-{views_version()}",
        libraries=library_versions(("duckdb", "numpy", "polars", "pyarrow")),
        config=pinned_config(config),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items() if artifact is not None),
    )
    names = {BASE: f"base_model-{base_model.short_id}"} | ({CHAMPION: f"policy-{champion.short_id}"} if champion else {})

    def build(directory: Path) -> Headline:
        pairs = pl.read_parquet(proposals.file("pairs.parquet")).with_columns(pl.col("model_a", "model_b").replace(names))
        shares = {RANDOM: config.random_share, GOLD: config.gold_share, REPEATED: config.repeated_share}
        with duckdb.connect() as connection:
            open_current(connection, *FeedbackLake(home.lake).pinned(snapshot))
            gold, known = (_known(connection, config, where) for where in (HAS_VERDICT, WAS_JUDGED))
        rows = select(pairs, gold, known, n=config.n, shares=shares, seed=config.seed)
        if rows.is_empty():
            what, remedy = "there is nothing to ask for: the two responses are always equal", "raise policy.sampling.temperature"
            raise InputError(what, where=f"proposals {proposals.short_id}", remedy=remedy)
        write_records(REQUESTED, rows.select(REQUESTED.schema.names).to_arrow(), directory / REQUEST_FILE)
        counts = dict(rows["why"].value_counts().sort("why").iter_rows())
        told = rows["information"].mean()
        return {"comparisons": rows.height, **counts, "mean_information": round(told, 4) if isinstance(told, float) else None}

    return home.artifacts.make(identity, build)


HAS_VERDICT = "gold_verdict is not null"
WAS_JUDGED = "gold_verdict is null and comparison_id in (select comparison_id from current_judgments where annotator_kind = 'human')"
KNOWN = """
select comparison_id, prompt_id, slice, prompt, response_a, response_b, model_a, model_b
from current_comparisons
where {where} and prompt is not null and response_a is not null and response_b is not null
    and (not contains(comparison_id, '/') or starts_with(comparison_id, $source || '/'))
order by hash(comparison_id || $seed), comparison_id limit $n
"""
"""Comparisons that come back as themselves: known by their content, or by an id of the source that judgments come back in."""


def _known(connection: duckdb.DuckDBPyConnection, config: RequestConfig, where: str) -> pl.DataFrame:
    parameters = {"source": config.source, "seed": str(config.seed), "n": config.n}
    found: pl.DataFrame = connection.sql(KNOWN.format(where=where), params=parameters).pl()
    return found
