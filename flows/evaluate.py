"""`overnight evaluate`: a stored reward model on a file in one of RewardBench's layouts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.table import Column, Table

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.parquet import write_table
from data_contracts.records import REWARD_BENCH_ROW
from flows.console import new_console
from flows.show import find_artifact
from models.reward.evaluation.reward_bench import TIES, Result, figures, score_items
from models.reward.reward_model import load_reward_model
from tasks.evaluation.reward_bench_rows import read_items


def evaluate_reward_model(root: Path, name: str, data: Path, rows: Path | None) -> None:
    """Score a file's rows and print the figures by subset.

    Args:
        root: the home.
        name: the beginning of a reward model's id.
        data: the file.
        rows: where the scores of every row go, as Parquet; nowhere if None.
    """
    artifact, items = _reward_model(Home(root), name), read_items(data)
    results = score_items(items, load_reward_model(artifact.path / "model", Accelerator().device).eval())
    if rows is not None:
        write_table(REWARD_BENCH_ROW.table([_row(result) for result in results]), rows)
    console = new_console()
    console.print(_table(f"reward model {artifact.short_id} on {data.name}", figures(results)))
    cut = sum(result.prompt_cut for result in results), sum(result.responses_cut for result in results)
    if any(cut):
        console.print(f"too long for the model: {cut[0]} prompts lost their beginning, {cut[1]} responses their end")


def _reward_model(home: Home, name: str) -> Artifact:
    artifact = find_artifact(home, name)
    if artifact.kind != "reward_model":
        behind = [ref.id for ref in artifact.manifest.identity.inputs if ref.kind == "reward_model"]
        hint = f"it was made with the reward models {' and '.join(id_[:16] for id_ in behind)}" if behind else "`overnight show` lists them"
        raise InputError(f"{name} is a {artifact.kind.replace('_', ' ')} and no reward model", remedy=f"give the id of one: {hint}")
    return artifact


def _row(result: Result) -> dict[str, object]:
    item = result.item
    return {
        "row": item.row,
        "id": item.id,
        "subset": item.subset,
        "chosen_scores": result.chosen,
        "rejected_scores": result.rejected,
        "credit": None if item.subset == TIES else result.credit,
        "prompt_cut": result.prompt_cut,
        "responses_cut": result.responses_cut,
    }


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    right = {name: Column(name, justify="right") for name in ("value", "95 % interval", "rows", "prompts")}
    table = Table(Column("subset", no_wrap=True), "figure", *right.values(), title=title, title_justify="left")
    for row in rows:
        value, low, high = ("–" if row[name] is None else f"{row[name]:.3f}" for name in ("value", "low", "high"))
        table.add_row(row["subset"], row["figure"].replace("_", " "), value, f"{low} to {high}", str(row["n_rows"]), str(row["n_prompts"]))
    return table
