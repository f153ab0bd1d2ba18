"""What `overnight simulate` shows: a row per night, what became of each seed, and a plot of the true reward over the nights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from flows.night import STOPPED
from tasks.decision.plots import nights_plot
from tasks.simulation.deliveries import EMPTY, POISONED

Rows = Sequence[Mapping[str, Any]]
"""A row per night, as `flows.simulate` writes them."""
NONE = "–"


def nights_table(rows: Rows) -> Table:
    """A row per night of one seed."""
    table = Table(
        "night",
        "delivery",
        "outcome",
        "true reward",
        "above the base model",
        "above the champion before",
        "seconds",
        "home MB",
        "memory MB",
        "processes",
    )
    for row in rows:
        costs = [f"{row['seconds']:.0f}", f"{row['home_megabytes']:.0f}", str(row["memory_megabytes"]), str(row["processes"])]
        rewards = [f"{row['true_reward']:.2f}", _interval(row, "gain"), _interval(row, "step")]
        table.add_row(str(row["night"]), row["delivery"], row["outcome"], *rewards, *costs)
    return table


def seeds_table(seeds: Mapping[int, Rows]) -> Table:
    """A row per seed: where the true reward began and ended, what promotions changed, and what became of the special nights."""
    table = Table(
        "seed",
        "nights",
        "promotions",
        "true reward, base",
        "first promoted",
        "last",
        "last above base",
        "surely worse promotions",
        "poisoned nights",
        "empty nights",
        "slowest empty, s",
        "home MB",
        "memory MB, least–most",
    )
    for seed, rows in seeds.items():
        table.add_row(str(seed), *_seed_cells(rows))
    return table


def _seed_cells(rows: Rows) -> list[str]:
    last, promoted = rows[-1], [row for row in rows if row["promoted"]]
    worse = [row for row in promoted if row.get("step_high", 0.0) < 0]
    poisoned, empty = ([row for row in rows if row["delivery"] == kind] for kind in (POISONED, EMPTY))
    stopped = sum(row["outcome"].startswith(STOPPED) for row in poisoned)
    return [
        str(len(rows)),
        str(len(promoted)),
        f"{last['true_reward'] - last['gain_mean']:.2f}",
        f"{promoted[0]['true_reward']:.2f}" if promoted else NONE,
        f"{last['true_reward']:.2f}",
        _interval(last, "gain"),
        str(len(worse)),
        f"{stopped} of {len(poisoned)} stopped" if poisoned else NONE,
        "; ".join(row["outcome"] for row in empty) or NONE,
        f"{max(row['seconds'] for row in empty):.0f}" if empty else NONE,
        f"{last['home_megabytes']:.0f}",
        f"{min(row['memory_megabytes'] for row in rows)}–{max(row['memory_megabytes'] for row in rows)}",
    ]


def _interval(row: Mapping[str, Any], name: str) -> str:
    if f"{name}_mean" not in row:
        return NONE
    return f"{row[f'{name}_mean']:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"


def write_plot(seeds: Mapping[int, Rows], path: Path) -> None:
    """Draw the true reward of the champion after each night, and what was decided, as an SVG file.

    A file of its own names the namespaces that an element in a page does without.
    """
    path.write_text(
        nights_plot(seeds).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    )
