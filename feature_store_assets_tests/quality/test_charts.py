"""Pictures show the numbers of the profiles, hold nothing foreign, and stay small."""

import base64
import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from feature_store_assets.quality.charts import as_markdown, distribution_svg, trend_svg
from feature_store_assets.quality.statistics import Profile, profile

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert('&')</script>\x00\u202e"


def described(**columns: Sequence[object]) -> dict[str, Profile]:
    """The profiles of one partition with these columns."""
    count = max(len(values) for values in columns.values())
    frame = pl.DataFrame({"partition": ["mon"] * count, **columns})
    return profile(frame, partitions=["mon"], features=list(columns))["mon"]


def paths(svg: str, kind: str) -> list[str]:
    """What is drawn under a class."""
    return [
        each.attrib["d"]
        for each in ET.fromstring(svg).iter(f"{SVG}path")
        if kind in each.attrib["class"]
    ]


def heights(path: str) -> list[float]:
    """The heights of a histogram's steps over its ground."""
    ground = float(path.removeprefix("M0 ").split("V")[0])
    return [ground - float(up) for up in re.findall(r"V([\d.]+)h", path)]


def words(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter(f"{SVG}text")]


# ------------------------------------------------------------------ distributions


def test_bars_are_as_high_as_the_counts() -> None:
    given = described(x=[1.0, 2.0, 2.0, 3.0, 9.0])
    (drawn,) = paths(distribution_svg(given), "bars")
    most = max(given["x"].histogram)
    assert heights(drawn) == pytest.approx([56 * n / most for n in given["x"].histogram], abs=0.05)


def test_a_panel_says_what_is_missing_the_median_and_where_the_axis_ends() -> None:
    given = Profile(
        4,
        1,
        0.25,
        minimum=0.0,
        maximum=8.0,
        edges=(0.04, 4.0, 8.0),
        histogram=(1, 2),
        quantiles=(*[0.0] * 50, 4.0, *[8.0] * 50),
    )
    assert words(distribution_svg({"x": given})) == ["x", "25.0% missing · median 4", "≤ 0.04", "8"]


def test_a_reference_with_the_same_bins_has_the_outline_of_its_own_counts() -> None:
    now = Profile(6, 0, 0.0, edges=(0.0, 1.0, 2.0), histogram=(4, 2))
    before = Profile(6, 0, 0.0, edges=(0.0, 1.0, 2.0), histogram=(1, 5))
    (outline,) = paths(distribution_svg({"x": now}, {"x": before}), "reference")
    assert heights(outline) == pytest.approx([56 / 5, 56], abs=0.05)


def test_a_reference_with_other_bins_is_spread_by_overlap_and_loses_nothing() -> None:
    now = Profile(8, 0, 0.0, edges=(0.0, 1.0, 2.0), histogram=(4, 4))
    before = Profile(8, 0, 0.0, edges=(-5.0, -1.0, 0.5, 1.5, 7.0), histogram=(1, 2, 4, 1))
    svg = distribution_svg({"x": now}, {"x": before})
    (outline,) = paths(svg, "reference")
    # Below 1.0: 1 + 2 + half of 4; above: half of 4 + 1.
    assert heights(outline) == pytest.approx([56, 56 * 3 / 5], abs=0.05)
    assert words(svg)[-1] == "outline, tick: reference"


def test_a_reference_without_bins_is_drawn_by_its_percentiles() -> None:
    now = Profile(8, 0, 0.0, edges=(0.0, 1.0, 2.0), histogram=(4, 4))
    before = Profile(8, 0, 0.0, quantiles=(*[0.5] * 31, *[0.5 + n / 70 for n in range(1, 71)]))
    (outline,) = paths(distribution_svg({"x": now}, {"x": before}), "reference")
    # 30 hundredths are 0.5, 35 lie from there to 1.0, 35 above.
    assert heights(outline) == pytest.approx([56, 56 * 35 / 65], abs=0.05)


def test_a_reference_without_values_is_left_out() -> None:
    now = described(x=[1.0, 2.0])
    assert paths(distribution_svg(now, {"x": Profile(3, 3, 1.0)}), "reference") == []
    assert paths(distribution_svg(now, {"y": now["x"]}), "reference") == []


def test_common_values_are_bars_of_their_shares_with_ticks_of_the_reference() -> None:
    now = described(carrier=["UA"] * 6 + ["DL"] * 3 + ["AA", None])
    before = described(carrier=["UA"] * 3 + ["DL"] * 7)
    svg = distribution_svg(now, before)
    assert words(svg)[2:-1] == ["UA", "60.0%", "DL", "30.0%", "AA", "10.0%"]
    (bars,) = paths(svg, "shares")
    widths = [float(each) for each in re.findall(r"h([\d.]+)v", bars)]
    assert widths == pytest.approx([160 * each / 0.7 for each in (0.6, 0.3, 0.1)], abs=0.05)
    (ticks,) = paths(svg, "reference")
    places = [float(each) for each in re.findall(r"M([\d.]+) ", ticks)]
    assert places == pytest.approx([160 * 0.3 / 0.7, 160], abs=0.05)


def test_what_has_neither_numbers_nor_common_values_is_only_counted() -> None:
    given = {"mail": Profile(1200, 12, 0.01, 1100), "tags": Profile(1200, 0, 0.0)}
    told = words(distribution_svg(given))
    assert told[2:5] == ["rows: 1,200", "missing: 12", "distinct: 1,100"]
    assert told[5:] == ["tags", "0% missing", "rows: 1,200", "missing: 0"]


def test_a_partition_without_rows_says_so() -> None:
    assert words(distribution_svg({"x": Profile(0, 0, 0.0)})) == ["x", "no rows"]
    assert words(distribution_svg({})) == ["no features"]


def test_all_values_missing_is_no_histogram() -> None:
    assert paths(distribution_svg(described(x=[None, math.nan])), "bars") == []


@pytest.mark.parametrize("value", [0.0, 5, -1e300, 1e300, 1e-300])
def test_one_value_alone_can_be_drawn(value: float) -> None:
    (drawn,) = paths(distribution_svg(described(x=[value])), "bars")
    assert max(heights(drawn)) == 56


@pytest.mark.parametrize(
    "numbers", [[-1.7e308, 1.7e308], [5e-324, 0.0], [math.inf, 1.0], [0.0, 1e-320, 1e300]]
)
def test_extreme_numbers_can_be_compared(numbers: list[float]) -> None:
    usual = described(x=[0.0, 1.0, 2.0])
    for now, before in ((usual, described(x=numbers)), (described(x=numbers), usual)):
        svg = distribution_svg(now, before)
        for drawn in (*paths(svg, "bars"), *paths(svg, "reference")):
            assert all(0 <= each <= 56 for each in heights(drawn))
            assert "nan" not in drawn


def test_a_value_that_was_rare_in_the_reference_has_its_tick() -> None:
    now = described(carrier=["new"] * 3)
    before = described(carrier=[*"abcdefgh"] * 2 + ["new"])
    (tick,) = paths(distribution_svg(now, before), "reference")
    assert float(tick.removeprefix("M").split()[0]) == pytest.approx(160 / 17, abs=0.05)


def test_shares_that_are_not_quite_nothing_or_all_do_not_say_so() -> None:
    for missing, told in ((0, "0%"), (1, "<0.1%"), (99_999, ">99.9%"), (100_000, "100%")):
        svg = distribution_svg({"x": Profile(100_000, missing, missing / 100_000)})
        assert words(svg)[1] == f"{told} missing"


def test_many_features_are_cut_after_two_dozen() -> None:
    svg = distribution_svg({f"x{n}": Profile(1, 0, 0.0) for n in range(30)})
    assert "x23" in words(svg)
    assert "x24" not in words(svg)
    assert words(svg)[-1] == "and 6 more"


def test_a_panel_of_numbers_is_small() -> None:
    numbers = [math.sin(n) ** 3 * 1e4 for n in range(500)]
    one = {"total_payed_7d": described(x=numbers)["x"]}
    other = {"total_payed_7d": described(x=[n * 1.1 for n in numbers])["x"]}
    around = len(distribution_svg({})) + len("outline, tick: reference")
    assert len(distribution_svg(one).encode()) - around < 600
    assert len(distribution_svg(one, other).encode()) - around < 900


# ------------------------------------------------------------------ trends


def test_points_beyond_the_limit_are_triangles() -> None:
    points = [("a", 0.1), ("b", 0.4), ("c", 0.2), ("d", 0.3)]
    svg = trend_svg(points, limit=0.2, title="psi")
    (marks,) = paths(svg, "beyond")
    (line,) = paths(svg, "line")[:1]
    places = re.findall(r"[ML]([\d.]+) ([\d.]+)", line)
    tips = re.findall(r"M([\d.]+) ([\d.]+)l", marks)
    assert [x for x, _ in tips] == [places[1][0], places[3][0]]
    assert (
        ET.fromstring(svg).attrib["aria-label"] == "psi, partitions: 4, beyond the limit of 0.2: 2"
    )
    assert "limit 0.2 · newest 0.3" in words(svg)


def test_heights_of_a_trend_follow_its_numbers() -> None:
    svg = trend_svg([("a", 0.0), ("b", 5.0), ("c", 10.0)], limit=None, title="mean")
    ys = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", paths(svg, "line")[0])]
    assert ys[0] - ys[1] == ys[1] - ys[2] > 0
    assert paths(svg, "limit") == []
    assert words(svg)[-2:] == ["10", "0"]


def test_the_limit_is_inside_the_picture() -> None:
    svg = trend_svg([("a", 0.01), ("b", 0.02)], limit=0.2, title="psi")
    (dashed,) = paths(svg, "limit")
    y = float(dashed.removeprefix("M").split("H")[0].split()[1])
    assert 0 < y < float(ET.fromstring(svg).attrib["height"])
    assert paths(svg, "beyond") == []


def test_a_partition_without_a_number_is_a_gap() -> None:
    points = [("a", 1.0), ("b", 2.0), ("c", None), ("d", math.nan), ("e", 2.0)]
    line, dots = paths(trend_svg(points, limit=None, title="mean"), "line")
    assert (line.count("M"), line.count("L")) == (2, 1)
    assert dots.count("h0") == 3


def test_an_infinite_number_is_at_the_top_and_beyond() -> None:
    svg = trend_svg([("a", 0.1), ("b", math.inf)], limit=0.2, title="kl")
    assert len(paths(svg, "beyond")) == 1
    assert "inf" not in "".join(paths(svg, "line"))
    assert "limit 0.2 · newest inf" in words(svg)


def test_one_point_among_many_empty_ones_can_be_seen() -> None:
    points = [(str(n), 1.0 if n == 20 else None) for n in range(50)]
    assert paths(trend_svg(points, limit=None, title="mean"), "line")[1].count("h0") == 1


def test_of_very_many_points_those_that_stand_out_are_kept() -> None:
    points = [(str(n), 0.9 if n == 4321 else 0.01 if n == 777 else 0.1) for n in range(8760)]
    svg = trend_svg(points, limit=0.2, title="psi")
    assert len(svg) < 15_000
    assert paths(svg, "beyond")[0].count("l4") == 1
    ys = sorted(float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", paths(svg, "line")[0]))
    assert ys[0] < ys[1] == ys[-2] < ys[-1]


@pytest.mark.parametrize(
    "points",
    [
        [],
        [("a", math.inf)],
        [("a", None)],
        [("a", 0.0)],
        [("a", -3.0), ("b", -3.0)],
        [("a", 1e308)] * 2,
    ],
)
def test_few_or_equal_numbers_can_be_drawn(points: list[tuple[str, float | None]]) -> None:
    for drawn in paths(trend_svg(points, limit=None, title="mean"), ""):
        assert "nan" not in drawn
        assert "inf" not in drawn


# ------------------------------------------------------------------ every picture


@pytest.mark.parametrize(
    "svg",
    [
        distribution_svg({HOSTILE: Profile(3, 0, 0.0, 1, top=((HOSTILE, 2), ("", 1)))}),
        trend_svg([(HOSTILE, 0.1), ("b", 0.3)], limit=0.2, title=HOSTILE),
    ],
)
def test_text_is_escaped_and_nothing_is_fetched(svg: str) -> None:
    root = ET.fromstring(svg)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        "svg",
        "rect",
        "g",
        "title",
        "text",
        "path",
    }
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def test_the_same_profiles_give_the_same_bytes() -> None:
    first, second = (
        distribution_svg(described(x=[1.0, 2.0], c=["a", "b"]), described(x=[3.0], c=["a"]))
        for _ in range(2)
    )
    assert first == second


def test_as_markdown_a_picture_is_held_whole() -> None:
    svg = trend_svg([("a", 1.0)], limit=None, title="mean")
    markdown = as_markdown(svg, "mean [of\nx]")
    alt, held = markdown.split("](data:image/svg+xml;base64,")
    assert alt == "![mean  of x "
    assert base64.b64decode(held.removesuffix(")")).decode() == svg
