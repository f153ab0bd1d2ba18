"""How often the interval of a win rate holds the truth: by one judge, by one of several heads, and by several models.

    overnight simulate --home DIR --nights 14 --seeds 2 3 4
    python benchmarks/judge_error.py --home DIR [--members 4 | --played]

For every night that evaluated a policy, judges of each kind learn from that night's preferences, and say how often the policy wins on the
prompts of its evaluation. In the simulated world it is known how often it truly does, on the same prompts: so what the prompts happen to
be is no error here, and an interval that held the judge's error would hold the truth 95 times in a hundred. With `--played` nothing is
trained: what the nights' own judges said is held against the truth, over all prompts and in slices of 20 prompts or more.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from flows.recipe import load_recipe
from models.configs import RewardModelConfig
from models.evaluation.intervals import Interval, between_members, bootstrap_interval, of_a_share, win_shares
from models.reward.reward_model import load_reward_model
from tasks.learning.training import train_reward_model
from tasks.simulation.truth import with_true_reward

OPPONENTS = ("reference", "champion")
ENOUGH = 20
"""Prompts of a slice that is looked at for itself."""
SINGLE = RewardModelConfig.model_fields["ensemble"].default
"""What an ensemble of one member is."""


class Found(NamedTuple):
    """What a judge says of a policy against another model, and what is true."""

    alone: Interval
    """The win rate with its interval over prompts."""
    whole: Interval
    """The same with the members' differences in it."""
    truth: float
    """How often the policy is truly better, ties half."""
    gain: float
    """The true reward that it truly gained."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="where `overnight simulate` played its nights")
    parser.add_argument("--recipe", default="short", help="the recipe of these nights")
    parser.add_argument("--members", type=int, default=4, help="members of the judges that have several")
    parser.add_argument("--played", action="store_true", help="train no judge: look at what those of the nights said")
    options = parser.parse_args()
    homes = [Home(path) for path in sorted(options.home.glob("seed-*"))]
    show(of_the_nights(homes) if options.played else of_new_judges(homes, load_recipe(options.recipe).judge, options.members))


def of_the_nights(homes: Sequence[Home]) -> dict[tuple[str, str], list[Found]]:
    """What the nights' own judges said, by opponent."""
    found = defaultdict(list)
    for home in homes:
        for night in nights(home):
            for part, rows in parts(with_true_reward(pl.read_parquet(night["evaluation"].file("samples.parquet")))):
                for opponent, one in against(rows, [row["judge_member_scores"] for row in rows]).items():
                    found[opponent + part, "the night's"].append(one)
    return found


def parts(samples: pl.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """All rows, and those of each slice that has prompts enough."""
    yield "", samples.to_dicts()
    for _, rows in samples.group_by("slice", maintain_order=True):
        if rows["prompt_id"].n_unique() >= ENOUGH:
            yield ", in slices", rows.to_dicts()


def of_new_judges(homes: Sequence[Home], own: RewardModelConfig, several: int) -> dict[tuple[str, str], list[Found]]:
    """What judges of each kind say that learn now, by opponent and kind; `own` is how the recipe has its judge learn."""
    found = defaultdict(list)
    kinds = {
        "one": (1, SINGLE),
        f"{several} heads": (several, "heads"),
        f"{several} models": (several, "models"),
    }
    for home in homes:
        for night in nights(home):
            for kind, (members, ensemble) in kinds.items():
                config = own.model_copy(update={"members": members, "ensemble": ensemble})
                for opponent, one in judged(home, config, night).items():
                    found[opponent, kind].append(one)
            print(f"{home.root.name}: {len(found[OPPONENTS[0], 'one'])} evaluations so far", flush=True)
    return found


def nights(home: Home) -> Iterator[dict[str, Artifact]]:
    """What each night used, by stage; of nights that evaluated the same policy the first."""
    seen = set()
    records = [json.loads(path.read_text()) for path in (home.root / "nights").glob("*.json")]
    for record in sorted(records, key=lambda record: record["night"]):
        ids = {stage["stage"]: stage["artifact_id"] for stage in record["stages"]}
        if "evaluation" in ids and ids["evaluation"] not in seen:
            seen.add(ids["evaluation"])
            yield {stage: home.artifacts.open(ids[stage]) for stage in ("evaluation", "preferences", "base model")}


def judged(home: Home, config: RewardModelConfig, night: dict[str, Artifact]) -> dict[str, Found]:
    """What a judge with these settings says of a night's policy, by opponent."""
    made = train_reward_model(home, config, base_model=night["base model"], preferences=night["preferences"]).artifact
    judge = load_reward_model(made.path / "model")
    rows = with_true_reward(pl.read_parquet(night["evaluation"].file("samples.parquet"))).to_dicts()
    return against(rows, judge.score_encoded([judge.encode(row["prompt"], row["response"]).ids for row in rows]).tolist())


def against(rows: list[dict[str, Any]], scores: list[list[float]]) -> dict[str, Found]:
    """What a judge whose members score responses so says of the policy, by opponent."""
    sides: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row, members in zip(rows, scores, strict=True):
        sides[row["model"]].append((row["prompt_id"], members, row["true_reward"]))
    said = {model: sorted(side, key=lambda one: one[0]) for model, side in sides.items()}
    return {opponent: compared(said["policy"], said[opponent]) for opponent in OPPONENTS if opponent in said}


def compared(own: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> Found:
    """From prompt, members' scores and true reward of each response."""
    wins = win_shares([one[1] for one in own], [one[1] for one in other])
    rewards, others = [one[2] for one in own], [one[2] for one in other]
    alone = bootstrap_interval(wins.mean(1), resamples=2000, seed=0)
    gain = float(np.mean(rewards) - np.mean(others))
    return Found(alone, of_a_share(between_members(alone, wins.mean(0))), float(win_shares(rewards, others).mean()), gain)


def show(found: dict[tuple[str, str], list[Found]]) -> None:
    """A line for each opponent, kind of judge and interval."""
    print("| against | judge | evaluations | error | interval | half width | holds the truth | surely wins | truly worse of these |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (opponent, kind), rows in sorted(found.items(), reverse=True):
        error = np.sqrt(np.mean([(one.alone.mean - one.truth) ** 2 for one in rows]))
        for name, place in (("over prompts", "alone"), ("with the members'", "whole")):
            pairs = [(one, getattr(one, place)) for one in rows]
            if place == "whole" and pairs[0][1].judge_half_width is None:
                continue
            half = np.mean([(interval.high - interval.low) / 2 for _, interval in pairs])
            holds = np.mean([interval.low <= one.truth <= interval.high for one, interval in pairs])
            wins = [one for one, interval in pairs if interval.low > 0.5]
            worse = sum(one.gain < 0 for one in wins)
            told = f"{error:.3f} | {name} | {half:.3f} | {holds:.2f} | {len(wins)} | {worse}"
            print(f"| {opponent} | {kind} | {len(rows)} | {told} |")


if __name__ == "__main__":
    main()
