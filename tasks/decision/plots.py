"""The report's plots: inline SVG, the same bytes for the same data, in colours that stand on light and on dark."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from models.evaluation.overoptimization import Curve

INK, BLUE, ORANGE, GREEN, RED = "#7d8590", "#3b82f6", "#f59e0b", "#10b981", "#ef4444"
GAINS = {
    "score": (BLUE, "reward model"),
    "judge_score": (GREEN, "held-out judge"),
    "true_reward": (ORANGE, "true reward (simulated)"),
}
"""Who says what was gained: colour and label."""
DECISIONS = {
    "promoted": (GREEN, "o"),
    "not promoted": (ORANGE, "v"),
    "stopped": (RED, "s"),
    "nothing new": (INK, "d"),
    "failed": (RED, "x"),
}
"""How a night's outcome begins: colour and mark."""
STYLE: Any = {
    "svg.hashsalt": "overnight",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "legend.frameon": False,
}


def interval_plot(rows: Sequence[dict[str, Any]], label: str, threshold: float) -> str:
    """One point with its 95 % interval per row (`slice`, `value`, `low`, `high`), and a line at the threshold."""
    figure, axes = _figure(7.0, 0.5 * len(rows) + 1.0)
    for place, row in enumerate(reversed(rows)):
        axes.plot([row["low"], row["high"]], [place, place], color=BLUE, linewidth=2.5, solid_capstyle="round")
        axes.plot([row["value"]], [place], "o", color=BLUE, markersize=7)
    axes.axvline(threshold, color=ORANGE, linestyle="--", linewidth=1.2)
    axes.set_yticks(range(len(rows)), [f"{row['slice']}  (n = {row['n']})" for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(label)
    return _svg(figure, label)


def reliability_plot(rows: Sequence[dict[str, Any]]) -> str:
    """What was observed (`value`, `low`, `high`) by what was predicted (`predicted`), a point per bin; on the diagonal they are equal."""
    figure, axes = _figure(7.0, 3.4)
    axes.plot([0.5, 1], [0.5, 1], color=INK, linestyle="--", linewidth=1.2)
    for row in rows:
        if row["low"] is not None:
            axes.plot([row["predicted"]] * 2, [row["low"], row["high"]], color=BLUE, linewidth=2.5, solid_capstyle="round")
    axes.plot([row["predicted"] for row in rows], [row["value"] for row in rows], "o", color=BLUE, markersize=7)
    axes.set_xlim(0.48, 1.02)
    axes.set_xlabel("predicted probability of the response that the reward model favours")
    axes.set_ylabel("observed")
    return _svg(figure, "reliability of the reward model's probabilities on the test split")


def timeline_plot(rows: Sequence[dict[str, Any]], label: str) -> str:
    """One point with its 95 % interval per row (`slice`, a day; `value`, `low`, `high`), in order of time."""
    import matplotlib.dates

    dates: Any = matplotlib.dates  # it has no types
    figure, axes = _figure(7.0, 2.6)
    days = [float(dates.datestr2num(row["slice"])) for row in rows]
    for day, row in zip(days, rows, strict=True):
        if row["low"] is not None:
            axes.plot([day, day], [row["low"], row["high"]], color=BLUE, linewidth=1.5, alpha=0.6)
    axes.plot(days, [row["value"] for row in rows], "o-", color=BLUE, markersize=4, linewidth=1.0)
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.set_ylabel(label)
    return _svg(figure, f"{label} by day")


def training_plot(metrics: Sequence[dict[str, Any]]) -> str:
    """Scores and KL over the updates of PPO or the steps of DPO: the training reward and, where it was asked, the held-out judge."""
    figure, axes = _figure(7.0, 3.2)
    unit = "update" if "update" in metrics[0] else "step"
    rollouts = [row for row in metrics if "score" in row]
    if rollouts:
        axes.plot([row[unit] for row in rollouts], [row["score"] for row in rollouts], color=BLUE, label="reward model (training prompts)")
    judged = [row for row in metrics if row.get("validation_judge_score") is not None]
    judge_scores = [row["validation_judge_score"] for row in judged]
    axes.plot([row[unit] for row in judged], judge_scores, "o-", color=GREEN, label="held-out judge (validation prompts)")
    axes.set_xlabel(unit)
    axes.set_ylabel("mean score")
    right = axes.twinx()
    name, rows = ("kl_k1", rollouts) if rollouts else ("validation_kl_k1", judged)
    kl, label = [row[name] for row in rows], "KL from the base model (right)"
    right.plot([row[unit] for row in rows], kl, color=ORANGE, linestyle=":", label=label)
    right.set_ylabel("nats per response")
    right.grid(visible=False)
    lines = [*axes.get_lines(), *right.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="lower right", fontsize=9)
    return _svg(figure, f"scores and KL over the {unit}s of the policy's training")


def overoptimization_plot(
    found: Mapping[str, Sequence[tuple[float, float]]],
    curves: "Mapping[str, Curve]",
    best: Mapping[str, Sequence[tuple[float, float]]],
) -> str:
    """Gains (KL, gain) over the root of the KL, by reward model (`score`), held-out judge (`judge_score`) and the simulated world's truth
    (`true_reward`), with fitted curves; `best` are those of the base model's best of n."""
    figure, axes = _figure(7.0, 3.0)
    for name, (color, label) in GAINS.items():
        if name not in found:
            continue
        axes.plot([kl**0.5 for kl, _ in found[name]], [gain for _, gain in found[name]], "o", color=color, label=label)
        if name in curves:
            furthest = max(kl for kl, _ in found[name])
            kls = [furthest * (step / 50) ** 2 for step in range(1, 56)]
            axes.plot([kl**0.5 for kl in kls], [curves[name].gain(kl) for kl in kls], color=color, linewidth=1.2)
        if best.get(name):
            x, y = [kl**0.5 for kl, _ in best[name]], [gain for _, gain in best[name]]
            axes.plot(x, y, "D--", color=color, markerfacecolor="none", linewidth=0.8, label=f"best of n: {label}")
    axes.set_xlabel("root of the KL from the base model (nats per response)")
    axes.set_ylabel("score gained")
    axes.legend(loc="upper left", fontsize=9)
    return _svg(figure, "scores gained over the root of the KL, on validation prompts")


def nights_plot(seeds: Mapping[int, Sequence[Mapping[str, Any]]]) -> str:
    """The champion's true reward above the base model's after each night (`night`, `outcome`, `gain_mean`), a line per seed.

    The points tell what was decided; with one seed its 95 % interval stands behind.
    """
    figure, axes = _figure(8.0, 4.0)
    drawn: dict[str, Any] = {}
    for rows in seeds.values():
        nights, gains = [row["night"] for row in rows], [row["gain_mean"] for row in rows]
        if len(seeds) == 1:
            axes.fill_between(nights, [row["gain_low"] for row in rows], [row["gain_high"] for row in rows], color=BLUE, alpha=0.12)
        axes.step(nights, gains, where="post", color=INK, linewidth=1.0, alpha=0.6)
        for decision, (color, marker) in DECISIONS.items():
            found = [row for row in rows if row["outcome"].startswith(decision)]
            if found:
                x, y = [row["night"] for row in found], [row["gain_mean"] for row in found]
                drawn[decision] = axes.plot(x, y, marker, color=color, markersize=6)[0]
    axes.set_xlabel("night")
    axes.set_ylabel("the champion's true reward above the base model's")
    axes.legend(drawn.values(), drawn.keys(), loc="lower right", fontsize=9)
    return _svg(figure, "true reward of the champion above the base model after each night")


def scatter_plot(rows: Sequence[dict[str, Any]], x: str, y: str, x_label: str, y_label: str) -> str:
    """One point per row that has both values."""
    known = [row for row in rows if row[x] is not None and row[y] is not None]
    figure, axes = _figure(7.0, 3.0)
    axes.plot([row[x] for row in known], [row[y] for row in known], "o", color=BLUE, alpha=0.7)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return _svg(figure, f"{y_label} by {x_label}")


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: "Figure", description: str) -> str:
    """The figure as an SVG element that grows with its place and describes itself."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{description}" class="plot">', text, count=1)
