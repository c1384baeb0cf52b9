"""Draw figures of each contender; run by the peers' Python, which has Matplotlib.

`python chart.py <picture.svg>`, the lines and what to draw of them as JSON on standard input.
"""

import json
import sys
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Readable on white as on black; the ground stays transparent.
_INK = "#7a828c"
_COLOURS = {
    "ours": "#2f81f7",
    "polars": "#8b949e",
    "duckdb": "#c69026",
    "feast-duckdb": "#e0733d",
    "feast-file": "#b0567a",
    "ours, LMDB": "#2f81f7",
    "ours, Redis": "#54aeff",
    "ours, Redis, 90 % cached": "#1a7f64",
    "ours, Redis, cached": "#1a7f64",
    "redis-py": "#8b949e",
    "bare ASGI": "#8b949e",
    "Feast": "#e0733d",
    "feast serve": "#e0733d",
}
_BAR, _GAP = 0.8, 1.0
# Where a bar goes, the short name of its line, and its entry.
_Place = tuple[float, str, dict[str, Any]]


def draw(lines: list[dict[str, Any]], panels: list[dict[str, Any]], path: str) -> None:
    """Draw one panel for each figure, a group of bars for each line."""
    mpl.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "point_in_time",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    places = _places(lines)
    height = 0.9 + 0.2 * (places[-1][0] + 1)
    figure = Figure(figsize=(10, height), layout="constrained")
    drawn = figure.subplots(
        1, len(panels), sharey=True, squeeze=False, width_ratios=[each["width"] for each in panels]
    )[0]
    for axes, panel in zip(drawn, panels, strict=True):
        _panel(axes, places, panel["of"], panel["unit"], panel["scale"])
        axes.set_xlabel(panel["label"])
    left = drawn[0]
    middles: dict[str, list[float]] = {}
    for place, title, _ in places:
        middles.setdefault(title, []).append(place)
    left.set_yticks([sum(each) / len(each) for each in middles.values()], list(middles))
    left.invert_yaxis()
    present = {entry["name"] for _, _, entry in places}
    named = [
        mpl.patches.Patch(color=_COLOURS[name], label=name) for name in _COLOURS if name in present
    ]
    figure.legend(handles=named, loc="outside upper center", ncols=len(named), frameon=False)
    figure.savefig(path, transparent=True, metadata={"Date": None})


def _places(lines: list[dict[str, Any]]) -> list[_Place]:
    places: list[_Place] = []
    place = 0.0
    for line in lines:
        for entry in line["entries"]:
            places.append((place, line["chart"], entry))
            place += 1
        place += _GAP
    return places


def _panel(axes: Axes, places: list[_Place], of: str, unit: float, scale: str) -> None:
    values = [entry[of] / unit for _, _, entry in places if not entry["stopped"]]
    logarithmic = scale == "log"
    low = min(values) / 2 if logarithmic else 0
    high = max(values) * (3 if logarithmic else 1.25)
    for place, _, entry in places:
        colour = _COLOURS[entry["name"]]
        value, told = (low, entry["stopped"]) if entry["stopped"] else (entry[of] / unit, "")
        axes.barh(place, value - low, left=low, height=_BAR, color=colour)
        axes.annotate(
            told or (f"{value:.0f}" if value >= 10 else f"{value:.2g}"),
            (value, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour if told else _INK,
        )
    axes.set(xscale=scale, xlim=(low, high))
    axes.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=_INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    draw(given["lines"], given["panels"], sys.argv[1])
