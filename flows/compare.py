"""`overnight compare`: two versions on the same held-out prompts, by the held-out judge: figures with intervals, and what moved most."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from rich.table import Column, Table

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.records import ALL_SLICES
from flows.console import new_console
from models.configs import EvaluationConfig
from models.evaluation.policy_figures import CHAMPION, POLICY, Side, compared, figure_row
from tasks.decision.approval import evidence_of, find_version
from tasks.learning.training import evaluate_policy

LEAST = 2
"""Prompts in common that a comparison needs."""
Row = Mapping[str, Any]


class Comparison(NamedTuple):
    """Two versions side by side."""

    judge: str
    """Id of the held-out judge."""
    pairs: list[tuple[Row, Row]]
    """Rows of the record `sample`, of the one and of the other, prompt by prompt."""
    left_out: int
    """Prompts that the other one had learned from or was chosen on."""
    figures: list[dict[str, Any]]
    """Rows of the record `figure`: the one against the other."""


def compare_and_tell(root: Path, one: str, other: str, *, examples: int, form: str) -> None:
    """Print how a version does against another.

    Args:
        root: the home.
        one: the version whose win rate is told.
        other: the one that it is compared with.
        examples: prompts shown that the one gained, and lost, the most on.
        form: `text`, or `json` for all of it as one object.
    """
    home = Home(root)
    with home.at_work():
        found = compare_versions(home, one, other)
    if form == "json":
        print(json.dumps({"judge": found.judge, "left_out": found.left_out, "figures": found.figures, "examples": _moved(found, examples)}))
        return
    console = new_console()
    console.print(_table(f"{one} against {other}, by judge {found.judge[:16]}", found.figures))
    if found.left_out:
        console.print(f"{found.left_out} prompts were left out: {other} had learned from them, or was chosen on them")
    for pair in _moved(found, examples):
        console.print(f"\njudge {pair['judge_gain']:+.3f}, reward model {pair['gain']:+.3f}", style="dim", highlight=False)
        for name, text in (("prompt", pair["prompt"]), (one, pair["one"]), (other, pair["other"])):
            console.print(f"[bold]{name}[/]", end=" ", highlight=False)
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def compare_versions(home: Home, one: str, other: str) -> Comparison:
    """Two versions on the held-out prompts of the first one's evaluation that the second one has not seen either.

    An evaluation that compared the two is used; else both are evaluated, which makes an artifact.

    Raises:
        InputError: they are the same policy, or have no held-out prompts in common.
    """
    versions = [find_version(home, name) for name in (one, other)]
    evidence = [evidence_of(home, version) for version in versions]
    if evidence[0]["policy"].digest == evidence[1]["policy"].digest:
        raise InputError(f"{one} and {other} are the same policy", remedy="name two versions; `overnight show` lists them")
    evaluation, swapped = evaluation_of_both(home, evidence[0], evidence[1])
    rows = pq.read_table(evaluation.file("samples.parquet")).to_pylist()
    sides = [{row["prompt_id"]: row for row in rows if row["model"] == model} for model in (POLICY, CHAMPION)]
    own, others = reversed(sides) if swapped else sides
    seen = used_by(home, evidence[1]["policy"]) | used_by(home, evidence[0]["policy"])
    pairs = [(row, others[prompt_id]) for prompt_id, row in sorted(own.items()) if prompt_id not in seen]
    if len(pairs) < LEAST:
        raise InputError(
            f"{one} and {other} have no common ground: one of them has seen all but {len(pairs)} of the {len(own)} held-out prompts",
            remedy="compare versions of one lake, whose prompts keep their split",
        )
    config = EvaluationConfig.model_validate(evaluation.manifest.identity.config)
    return Comparison(_input(evaluation, "judge"), pairs, len(own) - len(pairs), paired_figures(pairs, config))


def evaluation_of_both(home: Home, one: Mapping[str, Artifact], other: Mapping[str, Artifact]) -> tuple[Artifact, bool]:
    """An evaluation with samples of both policies, made where there is none yet; and whether the other one is its `policy`."""
    for evaluation, opponent, swapped in ((one["evaluation"], other, False), (other["evaluation"], one, True)):
        if opponent["policy"].id in [ref.id for ref in evaluation.manifest.identity.inputs if ref.role == "champion"]:
            return evaluation, swapped
    refs = one["evaluation"].manifest.identity.inputs
    inputs = {ref.role: home.artifacts.open(ref.id) for ref in refs if ref.role in ("base_model", "reward_model", "judge", "prompts")}
    config = EvaluationConfig.model_validate(one["evaluation"].manifest.identity.config | {"best_of": 1})
    made = evaluate_policy(home, config, policy=one["policy"], champion=other["policy"], champion_reward_model=None, **inputs)
    return made.artifact, False


def used_by(home: Home, policy: Artifact) -> set[str]:
    """Ids of the prompts that a policy, its reward model or its judge learned from, or was chosen on."""
    prompts = home.artifacts.open(_input(policy, "prompts"))
    table = pq.read_table(prompts.file("prompts.parquet"), columns=["prompt_id", "split"]).to_pylist()
    return {row["prompt_id"] for row in table if row["split"] != "test"}


def paired_figures(pairs: Sequence[tuple[Row, Row]], config: EvaluationConfig) -> list[dict[str, Any]]:
    """The figures of the one against the other, over all prompts and by slice."""
    rows: list[dict[str, Any]] = []
    for part in [ALL_SLICES, *sorted({own["slice"] for own, _ in pairs})]:
        chosen = [pair for pair in pairs if part in (ALL_SLICES, pair[0]["slice"])]
        own, other = (_side([pair[place] for pair in chosen]) for place in (0, 1))
        rows += [figure_row(part, figure, value, len(chosen)) for figure, value in compared(own, other, config)]
    return rows


def _side(rows: Sequence[Row]) -> Side:
    """Evaluations that were made before a judge could have members have its score alone."""
    return Side.of((row["score"], row.get("judge_member_scores") or [row["judge_score"]], row["n_tokens"]) for row in rows)


def _moved(found: Comparison, count: int) -> list[dict[str, Any]]:
    """The prompts on which the judge's score rose most, and those on which it fell most."""
    told = [
        {
            "prompt_id": own["prompt_id"],
            "prompt": "\n".join(message["content"] for message in own["prompt"]),
            "one": own["response"],
            "other": other["response"],
            "judge_gain": own["judge_score"] - other["judge_score"],
            "gain": own["score"] - other["score"],
        }
        for own, other in found.pairs
    ]
    told.sort(key=lambda pair: (-pair["judge_gain"], pair["prompt_id"]))
    count = min(count, len(told) // 2)
    return told[:count] + told[len(told) - count :]


def _input(artifact: Artifact, role: str) -> str:
    return next(ref.id for ref in artifact.manifest.identity.inputs if ref.role == role)


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    right = [Column(name, justify="right") for name in ("value", "95 % interval", "prompts")]
    table = Table(Column("slice", no_wrap=True), "figure", *right, title=title, title_justify="left")
    for row in rows:
        interval = "–" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        table.add_row(row["slice"], row["figure"].replace("_", " "), f"{row['value']:.3f}", interval, str(row["n"]))
    return table
