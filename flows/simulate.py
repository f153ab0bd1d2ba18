"""`overnight simulate`: the simulated world over many nights, each of which the real pipeline runs on what people delivered.

The world stands outside: it writes files as an annotation tool would, and a night knows of it no more than of any other source. What a
night's champion is truly worth is told afterwards, on prompts that nobody was asked about.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.registry import Registry
from flows.console import new_console
from flows.night import NightRecord, night_of
from flows.nightly import nightly
from flows.recipe import Recipe, load_recipe
from flows.simulate_table import nights_table
from tasks.evaluation.held_out_texts import HeldOutTextsConfig, provide_held_out_texts
from tasks.learning.base_model import provide_base_model
from tasks.simulation.deliveries import ORDINARY, DeliveryConfig, delivered
from tasks.simulation.people import People, gained, read_lines, write_lines
from tasks.simulation.stages import write_corpus

SOURCE = "simulated-annotators"
POOL = 3600
"""Prompts that the corpus keeps aside for all seeds and nights, so that they share one base model."""
TRUTH_PROMPTS = 200
OTHER_HOME = "give the same ones to go on, or another --home to begin anew"


@dataclass(frozen=True)
class Play:
    """One seed's nights."""

    root: Path
    recipe_name: str
    overrides: tuple[str, ...]
    people: People
    calendar: DeliveryConfig

    @property
    def seed(self) -> int:
        """The seed of the world and of the nights."""
        return self.calendar.seed

    @property
    def home(self) -> Home:
        """The home of the nights, as any other."""
        return Home(self.root / f"seed-{self.seed}")

    def judged(self, night: int) -> Path:
        """What people said on a night."""
        return self.root / "world" / f"judged-{self.seed}" / f"night-{night:02d}.jsonl"

    def inbox(self) -> Path:
        """Where the deliveries arrive."""
        return self.root / "world" / f"delivered-{self.seed}"

    @property
    def results(self) -> Path:
        """One line per night that was played."""
        return self.root / f"nights-{self.seed}.jsonl"


def simulate(
    root: Path, recipe: str, overrides: tuple[str, ...], calendar: DeliveryConfig, first: int, comparisons: int
) -> list[dict[str, Any]]:
    """Play the nights of one seed, those that are missing, and print what became of them.

    Args:
        root: where the world, the seeds' homes and their results stand.
        recipe: a recipe with a simulated world.
        overrides: settings over the recipe's own.
        calendar: the nights.
        first: prompts of the first night.
        comparisons: prompts of every other night.
    """
    home = Home(root / "world")
    _refuse_other_settings(root / f"settings-{calendar.seed}.json", recipe, overrides, first, comparisons)
    of_world = load_recipe(recipe, overrides=overrides, changes={"simulation": {"prompts": POOL}})
    assert of_world.simulation is not None  # noqa: S101  (the settings above make one)
    corpus = write_corpus(home, of_world.simulation).artifact
    base = provide_base_model(home, of_world.base_model, corpus=corpus).artifact
    people = People(home, of_world.simulation, corpus, base, calendar.seed, calendar.nights, first, comparisons, TRUTH_PROMPTS)
    play = Play(root, recipe, overrides, people, calendar)
    rows = read_lines(play.results) if play.results.exists() else []
    _refuse_other_nights(rows, calendar)
    for night in range(len(rows) + 1, calendar.nights + 1):
        rows = [*rows, _play_night(play, night)]
        write_lines(rows, play.results)
        new_console().print(_line(rows[-1]), highlight=False, soft_wrap=True)
    new_console().print(nights_table(rows))
    return rows


def _refuse_other_settings(path: Path, recipe: str, overrides: tuple[str, ...], first: int, comparisons: int) -> None:
    """Keep a seed's nights of one sort: those that were played stand, and are not played again with other settings."""
    own, world = (load_recipe(recipe, overrides=settings).simulation for settings in ((), overrides))
    if own and world and own.prompts != world.prompts:
        remedy = "--first and --comparisons say how many of them people are asked about"
        raise InputError(f"the world of many nights has {POOL} prompts", where="simulation.prompts", remedy=remedy)
    settings = {"recipe": recipe, "set": list(overrides), "first": first, "comparisons": comparisons}
    if path.exists() and (before := json.loads(path.read_text())) != settings:
        differs = ", ".join(f"{name}: {before[name]!r}, and now {value!r}" for name, value in settings.items() if before[name] != value)
        raise InputError(f"the nights of this seed were begun with other settings ({differs})", where=str(path), remedy=OTHER_HOME)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2) + "\n")


def _refuse_other_nights(rows: list[dict[str, Any]], calendar: DeliveryConfig) -> None:
    for row in rows[: calendar.nights]:
        if row["delivery"] != (kind := calendar.kind(row["night"])):
            what = f"night {row['night']} was played with a delivery that was {row['delivery']}, and is {kind} now"
            raise InputError(what, where="--poisoned-night, --empty-night", remedy=OTHER_HOME)


def _play_night(play: Play, night: int) -> dict[str, Any]:
    """Deliver what people said, run the night, and tell what its champion is truly worth."""
    recipe = recipe_of_nights(play)
    _deliver(play, recipe, night)
    before = _champion(play.home, recipe)
    began = time.monotonic()
    with night_of(play.home, recipe.name):
        record = nightly(recipe, play.home.root)
    seconds = time.monotonic() - began
    after = _champion(play.home, recipe)
    told = {"night": night, "delivery": play.calendar.kind(night), "outcome": record.outcome, "seconds": round(seconds, 1)}
    return told | _truth(play, before, after) | _costs(play, record)


def _deliver(play: Play, recipe: Recipe, night: int) -> None:
    """Have people judge what the base model and the champion answer, and put the night's delivery where the source looks."""
    calendar, champion = play.calendar, _champion(play.home, recipe)
    if night == calendar.empty_night or (play.inbox() / f"night-{night:02d}.jsonl").exists():
        return
    answers = play.people.answers(champion, [night]) if champion else None
    write_lines(play.people.judgments(night, answers, poisoned=night == calendar.poisoned_night), play.judged(night))
    known = {other: read_lines(play.judged(other)) for other in range(1, night + 1) if other != calendar.empty_night}
    write_lines(delivered(calendar, known, night), play.inbox() / f"night-{night:02d}.jsonl")


def recipe_of_nights(play: Play) -> Recipe:
    """The recipe of the nights: the world's own, with the base model and the feedback as things that come from outside."""
    world = play.people
    texts = provide_held_out_texts(world.home, HeldOutTextsConfig(), corpus=world.corpus, base_model=world.base_model).artifact
    path = play.root / "world" / "held_out_texts.txt"
    path.write_text("\n\n".join(pq.read_table(texts.file("texts.parquet"))["text"].to_pylist()) + "\n")
    changes: Mapping[str, Any] = {
        "name": "simulated",
        "description": f"simulated: night after night in the world of {play.recipe_name}",
        "seed": play.seed,
        "simulation": None,
        "base_model": {"source": str(world.base_model.path / "model")},
        "ingest": {"sources": [{"name": SOURCE, "format": "native", "path": str(play.inbox())}]},
        "held_out_texts": {"path": str(path)},
    }
    return load_recipe(play.recipe_name, overrides=play.overrides, changes=changes)


def _champion(home: Home, recipe: Recipe) -> Artifact | None:
    entry = Registry(home.registry / recipe.registry.line).current("champion")
    return home.artifacts.open(entry.policy_id) if entry else None


def _truth(play: Play, before: Artifact | None, after: Artifact | None) -> dict[str, Any]:
    """What the champion is truly worth on the prompts of the truth, above the base model and above the champion before."""
    people, promoted = play.people, (after and after.id) != (before and before.id)
    base = people.true_rewards(people.base_answers())
    own = people.true_rewards(people.answers(after, [])) if after else base
    told: dict[str, Any] = {"promoted": promoted, "true_reward": float(own.mean())}
    told |= {f"gain_{name}": value for name, value in gained(own, base, people.seed)._asdict().items()}
    if promoted and before:
        step = gained(own, people.true_rewards(people.answers(before, [])), people.seed)
        told |= {f"step_{name}": value for name, value in step._asdict().items()}
    return told


def _costs(play: Play, record: NightRecord) -> dict[str, Any]:
    """What the night left behind: megabytes of its home, memory and child processes of this process."""
    import psutil

    process = psutil.Process()
    size = sum(path.stat().st_size for path in play.home.root.rglob("*") if path.is_file())
    return {
        "home_megabytes": round(size / 1e6, 1),
        "memory_megabytes": round(process.memory_info().rss / 1e6),
        "processes": len(process.children(recursive=True)),
        "made": sum(not stage.reused for stage in record.stages),
    }


def _line(row: Mapping[str, Any]) -> str:
    what = f" ({row['delivery']} delivery)" if row["delivery"] != ORDINARY else ""
    return f"night {row['night']}{what}: {row['outcome']} ({row['seconds']:.0f} s), the champion's true reward {row['true_reward']:.2f}"
