"""`overnight request`: the comparisons that people should judge next, from the last night of a recipe, as files for annotation tools."""

from pathlib import Path

import polars as pl
from rich.table import Column, Table

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError, RecipeError, examples
from data_contracts.home import Home
from data_contracts.registry import Registry
from flows.console import new_console
from flows.night import NightRecord
from flows.recipe import Recipe
from models.configs import ProposalConfig
from models.randomness import derive_seed
from tasks.feedback.ingest import SIMULATED
from tasks.requests.formats import write_request
from tasks.requests.request import REQUEST_FILE, RequestConfig, make_request, propose

NEEDED = {"base model": "base_model", "reward model": "reward_model", "preferences": "prompts", "snapshot": "snapshot"}
"""Stages of a night that a request starts from, and the role of each."""
PROMPTS_PER_COMPARISON = 4
"""Prompts that are answered for each comparison that is asked for: what is informative is chosen from these."""


def source_of(recipe: Recipe, name: str | None) -> str:
    """The source that judgments will come back in: the named one, or the only one of the recipe.

    Raises:
        RecipeError: the recipe has none of that name, or several and none is named.
    """
    names = [*(source.name for source in recipe.ingest.sources), *([SIMULATED] if recipe.simulation else [])]
    if name is None and len(names) == 1:
        return names[0]
    if name is None or (names and name not in names):
        what = f"the recipe has no source {name!r}" if name else "it has to be known which source the judgments will come back in"
        raise RecipeError(f"{what}; the recipe's are: {examples(names) or 'none'}", remedy="give --source NAME")
    return name


def request_and_tell(root: Path, recipe: Recipe, config: RequestConfig, folder: Path) -> None:
    """Make a request from the last night of a recipe that has what it needs, write its files and say what is in them."""
    home, console = Home(root), new_console()
    with home.at_work():
        request = request_comparisons(home, recipe, config)
    rows = pl.read_parquet(request.file(REQUEST_FILE))
    console.print(_table(request, rows))
    for path in write_request(rows, request.short_id, folder):
        console.print(str(path), soft_wrap=True, highlight=False)
    if config.source == SIMULATED:
        console.print("the people of this recipe are simulated: what real ones say needs a recipe with a source of its own")
    else:
        console.print(f"deliver what people say of them in the source {config.source!r}; docs/requests.md says how", highlight=False)


def request_comparisons(home: Home, recipe: Recipe, config: RequestConfig) -> Artifact:
    """The request artifact."""
    inputs = _last_night(home, recipe.name)
    entry = Registry(home.registry / recipe.registry.line).current("champion")
    champion = home.artifacts.open(entry.policy_id) if entry else None
    prompts = PROMPTS_PER_COMPARISON * config.n
    proposing = ProposalConfig(seed=derive_seed(config.seed, "proposals"), sampling=recipe.policy.sampling, max_prompts=prompts)
    base, judged_by = inputs["base_model"], {"reward_model": inputs["reward_model"], "prompts": inputs["prompts"]}
    proposals = propose(home, proposing, base_model=base, champion=champion, **judged_by).artifact
    snapshot = inputs["snapshot"]
    return make_request(home, config, proposals=proposals, snapshot=snapshot, base_model=base, champion=champion).artifact


def _last_night(home: Home, recipe: str) -> dict[str, Artifact]:
    """What the last night of a recipe that has it all gave, by role."""
    for path in sorted(home.nights.glob("*.json"), reverse=True):
        record = NightRecord.model_validate_json(path.read_text())
        stages = {result.stage: result for result in record.stages}
        if record.recipe == recipe and NEEDED.keys() <= stages.keys():
            return {role: home.artifacts.open(stages[stage].artifact_id) for stage, role in NEEDED.items()}
    what = f"no night of the recipe {recipe!r} has trained a reward model here"
    raise InputError(what, where=str(home.root), remedy="run `overnight run` with this recipe first")


def _table(request: Artifact, rows: pl.DataFrame) -> Table:
    title = f"request {request.short_id}: {rows.height} comparisons"
    right = [Column(name, justify="right") for name in ("comparisons", "mean information (bits)")]
    table = Table("slice", "why", *right, title=title, title_justify="left")
    found = rows.group_by("slice", "why").agg(pl.len().alias("n"), pl.col("information").mean()).sort("slice", "why")
    for part, why, n, bits in found.iter_rows():
        table.add_row(part, why, str(n), "–" if bits is None else f"{bits:.3f}")
    return table
