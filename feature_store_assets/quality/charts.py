"""Pictures of distributions and of their change, as SVG that is legible on any ground.

Every picture is a light card with dark text: shown as an image it cannot know the page's theme.
Colours are attributes beside a class, so that a page that holds the picture can set its own.
"""

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from feature_store_assets.quality.statistics import BINS, Profile

_PANELS: Final = 24
_COLUMNS: Final = 3
_MEDIAN: Final = 50
_PAD: Final = 12
_BAR: Final = 13
_WIDE: Final = BINS * _BAR
_CELL_WIDE: Final = _WIDE + 2 * _PAD
_CELL_HIGH: Final = 118
_TOP: Final = 38
_BASE: Final = 94
_LONGEST: Final = 160
_ROW: Final = 13
_NAME_SHOWN: Final = 30
_VALUE_SHOWN: Final = 24

_LEFT: Final = 62
_RIGHT: Final = 2 * _CELL_WIDE - _PAD
_HIGHEST: Final = 32
_LOWEST: Final = 90
_DOTS: Final = 31
_HEAD_SHOWN: Final = 70
_KEY_SHOWN: Final = 24

_INK: Final = "#1f2328"
_MUTED: Final = 'class="muted" fill="#57606a"'
_AXIS: Final = 'class="axis" stroke="#c4ccd4"'
_BARS: Final = 'class="bars" fill="#6c9bd9"'
_SHARES: Final = 'class="shares" fill="#c6d9f5"'
_REFERENCE: Final = 'class="reference" fill="none" stroke="#a34410" stroke-width="1.5"'
_LINE: Final = 'class="line" fill="none" stroke="#2f6fc4" stroke-width="1.5"'
_DOT: Final = 'class="line" fill="none" stroke="#2f6fc4" stroke-width="4" stroke-linecap="round"'
_LIMIT: Final = 'class="limit" stroke="#57606a" stroke-dasharray="4 3"'
_BEYOND: Final = 'class="beyond" fill="#b42318"'

# Muted words, and what is drawn beside them.
_Drawn = tuple[str, str]
# Coordinates as they are written.
_Place = tuple[str, str]

_MILLION: Final = 1e6
_SUFFIXES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))
_HUGE: Final = 1e15
_SMALL: Final = 0.1
_TINY: Final = 1e-4
_LARGEST: Final = 1e307
# What XML cannot hold, what breaks the line, and what turns the direction of writing.
_UNFIT: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def distribution_svg(
    profiles: Mapping[str, Profile], references: Mapping[str, Profile] | None = None
) -> str:
    """Draw one small panel for each profile.

    Parameters
    ----------
    profiles
        What to draw, by the panel's title: a histogram of numbers, bars of the most common values
        of strings and bools, else the counts. The first 24 are drawn.
    references
        What to compare with, under the same titles: drawn over the panel as an outline, for
        common values as ticks.

    Returns
    -------
    The picture, about 700 bytes for each histogram.
    """
    known = references or {}
    shown = list(profiles)[:_PANELS]
    columns = max(1, min(_COLUMNS, len(shown)))
    panels = [
        f'<g transform="translate({number % columns * _CELL_WIDE + _PAD}'
        f' {number // columns * _CELL_HIGH})">{_panel(name, profiles[name], known.get(name))}</g>'
        for number, name in enumerate(shown)
    ]
    notes = ["outline, tick: reference"] if any('"reference"' in each for each in panels) else []
    if len(profiles) > len(shown):
        notes.append(f"and {len(profiles) - len(shown)} more")
    if not profiles:
        notes.append("no features")
    high = math.ceil(len(shown) / columns) * _CELL_HIGH
    if notes:
        panels.append(f'<text x="{_PAD}" y="{high + 12}" {_MUTED}>{" · ".join(notes)}</text>')
        high += 22
    names = ", ".join(shown[:_COLUMNS]) + (", …" if len(profiles) > _COLUMNS else "")
    return _card(columns * _CELL_WIDE, high, f"Distributions: {names}", "".join(panels))


def trend_svg(
    points: Sequence[tuple[str, float | None]], *, limit: float | None, title: str
) -> str:
    """Draw a number over partitions; what lies beyond its limit gets a red triangle.

    Parameters
    ----------
    points
        Partition and number, in order; without a number the line has a gap.
    limit
        The highest number allowed, drawn as a dashed line; None for none.
    title
        What the number is.
    """
    known = [value for _, value in points if value is not None and not math.isnan(value)]
    told = f"{title}, partitions: {len(points)}"
    newest = points[-1][1] if points else None
    notes = [] if newest is None or math.isnan(newest) else [f"newest {short(newest)}"]
    if limit is not None:
        beyond = sum(value > limit for value in known)
        told += f", beyond the limit of {short(limit)}: {beyond}"
        notes.insert(0, f"limit {short(limit)}")
    note = " · ".join(notes)
    head = (
        f'<text x="{_PAD}" y="16" font-weight="600">{_shown(title, _HEAD_SHOWN - len(note))}</text>'
    )
    if not known:
        nothing = f'<text x="{_PAD}" y="{_LOWEST}" {_MUTED}>no numbers</text>'
        return _card(2 * _CELL_WIDE, _CELL_HIGH, told, head + nothing)
    low, high = _range(known if limit is None else [*known, limit])
    body = [head, _frame(points, note, low, high)]
    if limit is not None:
        y = _n(_height(limit, low, high))
        body.append(f'<path {_LIMIT} d="M{_LEFT} {y}H{_RIGHT}"/>')
    kept = _kept([value for _, value in points])
    apart = (_RIGHT - _LEFT) / max(1, len(points) - 1)
    start = _LEFT if len(points) > 1 else _RIGHT
    places = [
        None if value is None else (_n(start + number * apart), _n(_height(value, low, high)))
        for number, value in kept
    ]
    body.append(f'<path {_LINE} d="{_line(places)}"/>')
    if dots := "".join(f"M{x} {y}h0" for x, y in _dots(places)):
        body.append(f'<path {_DOT} d="{dots}"/>')
    triangles = "".join(
        f"M{place[0]} {_n(float(place[1]) - 4)}l4 7h-8z"
        for (_, value), place in zip(kept, places, strict=True)
        if place and limit is not None and value is not None and value > limit
    )
    if triangles:
        body.append(f'<path {_BEYOND} d="{triangles}"/>')
    return _card(2 * _CELL_WIDE, _CELL_HIGH, told, "".join(body))


def as_markdown(svg: str, alt: str) -> str:
    """Return a picture as Markdown that holds it whole, as Dagster's UI shows it.

    Examples
    --------
    >>> as_markdown("<svg/>", "spend")
    '![spend](data:image/svg+xml;base64,PHN2Zy8+)'
    """
    words = re.sub(r"[\[\]\\\n]", " ", alt)
    return f"![{words}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def short(value: float) -> str:
    """Return a number in a few characters.

    Examples
    --------
    >>> short(0.123456), short(1234.5), short(1_234_567), short(3e-9)
    ('0.1235', '1234', '1.23M', '3.0e-09')
    """
    size = abs(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if size >= _HUGE or size < _TINY:
        return f"{value:.1e}"
    for unit, suffix in _SUFFIXES:
        if size >= unit:
            return f"{value / (unit if unit >= _MILLION else 1e3):.3g}{suffix}"
    return f"{value:.4g}" if size >= _SMALL else f"{value:.3g}"


def percent(share: float) -> str:
    """Return a share as a percentage; only nothing is 0 %, and only all is 100 %.

    Examples
    --------
    >>> percent(0.0), percent(0.00001), percent(0.1234), percent(0.99999), percent(1.0)
    ('0%', '<0.1%', '12.3%', '>99.9%', '100%')
    """
    if share in (0, 1):
        return f"{share:.0%}"
    small, large = 0.001, 0.999
    if share < small:
        return "<0.1%"
    return ">99.9%" if share > large else f"{share:.1%}"


# ------------------------------------------------------------------ panels


def _panel(name: str, profile: Profile, reference: Profile | None) -> str:
    told = escape(percent(profile.missing_share)) + " missing"
    if profile.quantiles:
        told += f" · median {short(profile.quantiles[_MEDIAN])}"
    if profile.count == 0:
        told, drawn = "no rows", ("", "")
    elif any(profile.histogram):
        drawn = _histogram(profile, reference)
    elif profile.top:
        drawn = _common(profile, reference)
    else:
        drawn = _counts(profile)
    return (
        f"<title>{_shown(name)}: rows {profile.count:,} · {told}</title>"
        f'<text y="16" font-weight="600">{_shown(name, _NAME_SHOWN)}</text>'
        f'<g {_MUTED}><text y="30">{told}</text>{drawn[0]}</g>{drawn[1]}'
    )


def _histogram(profile: Profile, reference: Profile | None) -> _Drawn:
    shares = _of_all(profile.histogram)
    outline: list[float] = []
    if reference is not None and (any(reference.histogram) or reference.quantiles):
        outline = _of_all(_rebinned(reference, profile.edges))
    most = max(*shares, *outline)
    low, high = profile.edges[0], profile.edges[-1]
    # The outer bins hold what lies beyond the edges as well.
    below = "≤ " if profile.minimum is not None and profile.minimum < low else ""
    above = "≥ " if profile.maximum is not None and profile.maximum > high else ""
    words = (
        f'<text y="106">{below}{short(low)}</text>'
        f'<text y="106" x="{_WIDE}" text-anchor="end">{above}{short(high)}</text>'
    )
    drawn = f'<path {_BARS} d="{_steps(shares, most)}"/><path {_AXIS} d="M0 {_BASE}.5h{_WIDE}"/>'
    if outline:
        drawn += f'<path {_REFERENCE} d="{_steps(outline, most)}"/>'
    return words, drawn


def _common(profile: Profile, reference: Profile | None) -> _Drawn:
    """Draw the most common values as bars, their shares in the reference as ticks."""
    present = profile.count - profile.missing
    shares = [count / present for _, count in profile.top]
    before: dict[str, float] = {}
    if reference is not None:
        total = reference.count - reference.missing
        counted = reference.categories or reference.top
        before = {value: count / total for value, count in counted}
    ticks = [(row, before[value]) for row, (value, _) in enumerate(profile.top) if value in before]
    scale = _LONGEST / max(*shares, *(share for _, share in ticks), 0)
    bars, words = "", ""
    for row, ((value, _), share) in enumerate(zip(profile.top, shares, strict=True)):
        y, width = _TOP + row * _ROW, _n(max(share * scale, 1))
        bars += f"M0 {y}h{width}v11H0z"
        words += (
            f'<text x="3" y="{y + 9}">{_shown(value, _VALUE_SHOWN)}</text>'
            f'<text x="{_WIDE}" y="{y + 9}" text-anchor="end">{escape(percent(share))}</text>'
        )
    marks = "".join(f"M{_n(share * scale)} {_TOP + row * _ROW - 1}v13" for row, share in ticks)
    drawn = f'<path {_SHARES} d="{bars}"/>'
    if marks:
        drawn += f'<path {_REFERENCE} d="{marks}"/>'
    return "", f'{drawn}<g font-size="10">{words}</g>'


def _counts(profile: Profile) -> _Drawn:
    lines = [f"rows: {profile.count:,}", f"missing: {profile.missing:,}"]
    if profile.distinct is not None:
        lines.append(f"distinct: {profile.distinct:,}")
    texts = (f'<text y="{50 + 15 * row}">{line}</text>' for row, line in enumerate(lines))
    return "".join(texts), ""


def _steps(shares: Sequence[float], most: float) -> str:
    tall = _BASE - _TOP
    ups = "".join(f"V{_n(_BASE - tall * share / most)}h{_BAR}" for share in shares)
    return f"M0 {_BASE}{ups}V{_BASE}"


def _rebinned(profile: Profile, edges: Sequence[float]) -> list[float]:
    """Spread counts over other bins by overlap; what lies outside goes to the outer bins.

    Merged profiles may have no histogram; a hundredth lies between two percentiles.
    """
    if any(profile.histogram):
        counted = zip(pairwise(profile.edges), profile.histogram, strict=True)
    else:
        counted = zip(pairwise(profile.quantiles), (1,) * 100, strict=True)
    spread = [0.0] * (len(edges) - 1)
    bounds = [-math.inf, *edges[1:-1], math.inf]
    for (low, high), count in counted:
        for place, (start, end) in enumerate(pairwise(bounds)):
            if low == high:
                spread[place] += count * (start <= low < end)
            # Halves, as two numbers can be further apart than the largest float.
            elif (overlap := min(high, end) / 2 - max(low, start) / 2) > 0:
                spread[place] += count * (overlap / (high / 2 - low / 2))
    return spread


def _of_all(counts: Sequence[float]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


# ------------------------------------------------------------------ trends


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis; zero is one of them where that costs little height."""
    # Twice the largest number drawn must not be infinite.
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = (max(-_LARGEST, min(each, _LARGEST)) for each in (min(finite), max(finite)))
    if low == high:
        return (0.0, 2 * high or 1.0) if high >= 0 else (2 * low, 0.0)
    return (0.0 if 0 <= low <= high / 2 else low), high


def _height(value: float, low: float, high: float) -> float:
    share = max(0.0, min((value - low) / (high - low), 1.0))
    return _LOWEST - (_LOWEST - _HIGHEST) * share


def _kept(values: Sequence[float | None]) -> list[tuple[int, float | None]]:
    """Return values with their numbers; of several in one pixel the lowest and the highest."""
    numbered = [
        (number, None if value is None or math.isnan(value) else value)
        for number, value in enumerate(values)
    ]
    together = len(values) // (_RIGHT - _LEFT)
    if together <= 2:  # noqa: PLR2004 - two are kept of each
        return numbered
    kept: list[tuple[int, float | None]] = []
    for start in range(0, len(values), together):
        known = [
            (value, number)
            for number, value in numbered[start : start + together]
            if value is not None
        ]
        ends = sorted({number for _, number in (min(known), max(known))}) if known else [start]
        kept += [numbered[number] for number in ends]
    return kept


def _line(places: Sequence[_Place | None]) -> str:
    drawn, pen = "", "M"
    for place in places:
        if place is None:
            pen = "M"
        else:
            drawn += f"{pen}{place[0]} {place[1]}"
            pen = "L"
    return drawn


def _dots(places: Sequence[_Place | None]) -> Iterator[_Place]:
    """Yield the places that a line alone does not show: few, or without neighbours."""
    around = [None, *places, None]
    for before, place, after in zip(around, places, around[2:], strict=False):
        if place and (len(places) <= _DOTS or not (before or after)):
            yield place


def _frame(points: Sequence[tuple[str, float | None]], note: str, low: float, high: float) -> str:
    first, last = _shown(points[0][0], _KEY_SHOWN), _shown(points[-1][0], _KEY_SHOWN)
    ends = f'<text x="{_RIGHT}" y="106" text-anchor="end">{last}</text>'
    if len(points) > 1:
        ends += f'<text x="{_LEFT}" y="106">{first}</text>'
    left = _LEFT - 6
    return (
        f'<g {_MUTED}><text x="{_RIGHT}" y="16" text-anchor="end">{note}</text>{ends}'
        f'<text x="{left}" y="{_HIGHEST + 4}" text-anchor="end">{short(high)}</text>'
        f'<text x="{left}" y="{_LOWEST + 2}" text-anchor="end">{short(low)}</text></g>'
        f'<path {_AXIS} d="M{_LEFT} {_LOWEST}.5H{_RIGHT}"/>'
    )


# ------------------------------------------------------------------ text and numbers


def _card(wide: int, high: int, told: str, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" role="img" aria-label="{_shown(told)}" fill="{_INK}" '
        f'font-family="system-ui,sans-serif" font-size="11">'
        f'<rect class="card" width="{wide}" height="{high}" rx="6" fill="#fff"/>{body}</svg>'
    )


def _n(number: float) -> str:
    """Return a coordinate with one decimal at most."""
    return f"{number:.1f}".removesuffix(".0")


def _shown(text: str, most: int = 200) -> str:
    """Return text as SVG can hold it, cut where there is no room for more."""
    fit = _UNFIT.sub("\ufffd", text) or "(empty)"
    return escape(fit if len(fit) <= most else fit[: most - 1] + "…")
