"""Pictures of a finished selection: the curriculum, and how the picks lie in the pool. Imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from minirec.api_schemas import SampleScore, SelectionPlots, SubsetRow

POOL, PICKED = "#56B4E9", "#D55E00"
"""Blue and vermilion of the Okabe-Ito palette: distinct with any colour vision, and in grey."""
BINS = 24
VERDICTS = {"open": POOL, "too_hard": "#999999", "too_easy": "#F0E442", "no_spread": "#CC79A7"}


def plot_curriculum(rows: Sequence[SubsetRow], path: Path) -> Path:
    """Draw the mean reward along the training order: each group goes from easy to hard."""
    figure, axes = new_figure(1)
    (axis,) = axes
    positions = [row.position + 1 for row in rows]
    rewards = [row.reward_mean for row in rows]
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(rows), 1) if a.group != b.group), len(rows)]
    for group, (start, end) in enumerate(pairwise(starts)):
        if group % 2:
            axis.axvspan(positions[start] - 0.5, positions[end - 1] + 0.5, color="black", alpha=0.05, linewidth=0)
        axis.plot(positions[start:end], rewards[start:end], color=PICKED, linewidth=1.2, alpha=0.6)
    axis.scatter(positions, rewards, color=PICKED, s=24, zorder=3)
    axis.set_xlim(0.5, len(rows) + 0.5)
    axis.set(xlabel="place in the training order", ylabel="mean reward of the rollouts  (easy ↑, hard ↓)")
    figure.suptitle(f"Curriculum: {len(rows)} samples in {len(starts) - 1} groups, each from easy to hard")
    return save(figure, path)


def plot_scores(scores: Sequence[SampleScore], path: Path) -> Path:
    """Draw how mean reward, learnability and score are spread over the pool and over the picks."""
    figure, axes = new_figure(3)
    picked = [score for score in scores if score.picked_rank is not None]
    for axis, name, label in zip(
        axes,
        ("reward_mean", "learnability", "score"),
        ("mean reward", "learnability L", "score αL + R"),
        strict=True,
    ):
        pool = [getattr(score, name) for score in scores]
        limits = (min(pool), max(pool))
        axis.hist(pool, bins=BINS, range=limits, color=POOL, label=f"pool ({len(scores)})")
        axis.hist(
            [getattr(score, name) for score in picked],
            bins=BINS,
            range=limits,
            color=PICKED,
            hatch="///",
            edgecolor="white",
            linewidth=0.5,
            label=f"picked ({len(picked)})",
        )
        axis.set_xlabel(label)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("samples")
    axes[0].legend(frameon=False)
    figure.suptitle("What was picked of the pool")
    return save(figure, path)


def plot_selection(found: SelectionPlots, path: Path) -> Path:
    """Draw mean rewards by the gate's verdict with the picks, and L against R where there is R."""
    with_plane = found.points.representativeness is not None
    figure, axes = new_figure(2 if with_plane else 1)
    edges = found.rewards.edges
    bottom = [0] * (len(edges) - 1)
    for name, colour in VERDICTS.items():
        counts = found.rewards.counts[name]
        if any(counts):
            axes[0].stairs(
                [a + b for a, b in zip(bottom, counts, strict=True)],
                edges,
                baseline=bottom,
                fill=True,
                color=colour,
                label=f"{name.replace('_', ' ')} ({sum(counts):,})",
            )
        bottom = [a + b for a, b in zip(bottom, counts, strict=True)]
    picked = found.rewards.counts["picked"]
    axes[0].stairs(picked, edges, color=PICKED, linewidth=1.8, label=f"picked ({sum(picked):,})")
    axes[0].set(xlabel="mean reward of the rollouts", ylabel="samples")
    axes[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(frameon=False)
    points = found.points
    if points.representativeness is not None:
        n = points.picked
        axes[1].scatter(points.representativeness[n:], points.learnability[n:], s=8, color=POOL, label="not picked")
        axes[1].scatter(points.representativeness[:n], points.learnability[:n], s=14, color=PICKED, label="picked")
        axes[1].set(xlabel="representativeness R", ylabel="learnability L")
        axes[1].legend(frameon=False)
    figure.suptitle(f"{found.selection_id}: {found.funnel.picked:,} of {found.funnel.pool:,} samples")
    return save(figure, path)


def new_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """Return a wide figure with plain axes side by side."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = [figure.add_subplot(1, panels, panel) for panel in range(1, panels + 1)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
        axis.margins(y=0.08)
    return figure, axes


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the file's ending."""
    figure.savefig(path, dpi=150)
    return path
