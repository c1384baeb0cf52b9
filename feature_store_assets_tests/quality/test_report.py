"""The report of a group's quality: one page, whole in itself, without personal values."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import polars as pl

from feature_store_assets.declaration.drift import Drift
from feature_store_assets.declaration.expect import expect
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.quality.drift import Shift
from feature_store_assets.quality.report import html_report
from feature_store_assets.quality.statistics import Profile, profile
from feature_store_assets.quality.verdicts import Verdict

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
GROUP = FeatureGroup(
    "spending",
    entity=Entity("customer", join_keys=["customer_id"]),
    features=[
        Feature("spend", "float64", "Money, <script>alert(1)</script>"),
        Feature("country", "string"),
        Feature("mail", "string", pii=True),
    ],
    description="What a customer spent & where.",
    owners=["team:growth"],
)
ROWS = pl.DataFrame(
    {
        "partition": ["mon", "mon", "tue", "tue", "tue", "tue"],
        "spend": [1.0, 3.0, 2.0, None, 4.0, 6.0],
        "country": ["<script>alert(2)</script>", "FR", "FR", "FR", None, "US"],
        "mail": ["ann@x", "bob@x", "ann@x", "ann@x", None, "bob@x"],
    }
)
PROFILES = profile(ROWS, partitions=["mon", "tue"], features=GROUP.feature_names, pii=["mail"])


def verdict(partition: str, outcome: Any = "passed", **given: Any) -> Verdict:
    severity = given.pop("severity", "critical")
    asked = expect.column_mean_to_be_between(
        given.pop("feature", "spend"), min_value=1, severity=severity
    )
    facts = {"observed": None, "unexpected_count": None, "unexpected_share": None, "reason": "why"}
    return Verdict(asked, partition, outcome, **facts | given)


def shift(partition: str, value: float | None, severity: Any = "warning") -> Shift:
    rule = Drift("psi", at_most=0.2, severity=severity)
    outcome: Any = "not evaluated" if value is None else "failed" if value > 0.2 else "passed"
    return Shift(rule, "spend", partition, value, outcome, f"psi of {value}")


def report(*verdicts: Verdict, **given: Any) -> str:
    by_partition: dict[str, list[Verdict]] = {}
    for each in verdicts:
        by_partition.setdefault(each.partition, []).append(each)
    profiles = given.pop("profiles", PROFILES)
    return html_report(GROUP, by_partition, profiles, made_at=NOON, **given)


class Page(HTMLParser):
    """The page's tags, text and tables, also those of each feature."""

    VOID = frozenset({"meta", "path", "rect"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.of: dict[str, list[list[str]]] = {}
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
            if "section" in self.open:
                self.of[str(self.all("section")[-1]["id"])] = self.tables[-1]
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"th", "td"}:
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# ------------------------------------------------------------------ the summary


def test_the_head_says_what_it_is_about() -> None:
    text = Page(report(verdict("mon"), verdict("tue"), run_id="0af3")).text
    for told in ("spending", "version 1", "What a customer spent & where.", "team:growth"):
        assert told in text
    assert "mon to tue (2)" in text
    assert "2024-01-01 12:00:00+00:00" in text
    assert "0af3" in text


def test_partitions_are_counted_by_what_became_of_them() -> None:
    text = Page(
        report(
            verdict("mon"),
            verdict("tue", "failed"),
            verdict("wed", "failed", severity="warning"),
            verdict("thu", "not evaluated", severity="info"),
            verdict("fri", "not evaluated"),
            verdict("sat"),
        )
    ).text
    tiles = re.findall(
        r"(\d+)\s*(?:[✕▲✓] )?(passed|with warnings|rejected|rows)", text.partition("What failed")[0]
    )
    assert tiles == [
        ("2", "passed"),
        ("2", "with warnings"),
        ("2", "rejected"),
        ("6", "rows"),
    ]


def test_a_partition_without_verdicts_has_not_passed() -> None:
    text = Page(report()).text
    assert "not checked" in text
    assert "✓ passed" not in text


def test_what_failed_stands_first_the_critical_and_the_newest_before_the_rest() -> None:
    page = Page(
        report(
            verdict("mon", "failed", severity="warning", reason="the mean is low"),
            verdict("mon", "failed", reason="the mean is very low"),
            verdict("tue", "not evaluated", reason="all values are missing"),
            verdict("tue"),
        )
    )
    assert page.tables[0] == [
        ["Partition", "Feature", "Severity", "Outcome", "Reason"],
        ["tue", "spend", "✕ critical", "not evaluated", "all values are missing"],
        ["mon", "spend", "✕ critical", "failed", "the mean is very low"],
        ["mon", "spend", "▲ warning", "failed", "the mean is low"],
    ]


def test_drift_counts_by_its_severity() -> None:
    checked = [verdict("mon"), verdict("tue"), verdict("wed")]
    drifted = {"tue": [shift("tue", 0.3)], "wed": [shift("wed", 0.4, "critical")]}
    page = Page(report(*checked, shifts={"mon": [shift("mon", None)], **drifted}))
    assert [row[:4] for row in page.tables[0][1:]] == [
        ["wed", "spend", "✕ critical", "drifted"],
        ["tue", "spend", "▲ warning", "drifted"],
    ]
    for told in ("✓ passed", "▲ with warnings", "✕ rejected"):
        assert told in page.text


def test_nothing_failed_is_said() -> None:
    assert "Nothing failed." in Page(report(verdict("mon"))).text


def test_of_very_many_failures_the_first_are_shown() -> None:
    page = Page(report(*(verdict(f"p{n}", "failed") for n in range(1200))))
    assert "The first 500 of 1,200" in page.text
    assert len(page.tables[0]) == 501


# ------------------------------------------------------------------ each feature


def test_the_table_of_a_feature_holds_the_numbers_of_its_profiles() -> None:
    spend = Page(report(verdict("mon"), verdict("tue", "failed"))).of["feature-spend"]
    assert spend == [
        [
            "Partition",
            "Quality",
            "Rows",
            "Missing",
            "Missing, %",
            "Distinct",
            "Mean",
            "Std. dev.",
            "Minimum",
            "Median",
            "Maximum",
        ],
        ["mon", "✓ passed", "2", "0", "0%", "2", "2", "1.414", "1", "2", "3"],
        ["tue", "✕ rejected", "4", "1", "25.0%", "3", "4", "2", "2", "4", "6"],
    ]


def test_common_values_stand_with_their_share_of_those_present() -> None:
    country = Page(report()).of["feature-country"]
    assert country[2] == [
        "tue",
        "not checked",
        "4",
        "1",
        "25.0%",
        "2",
        "FR (66.7%), US (33.3%)",
    ]


def test_several_partitions_have_trends_and_one_has_none() -> None:
    labels = [str(each["aria-label"]) for each in Page(report()).all("svg")]
    assert "Mean, partitions: 2" in labels
    assert "Distributions: mon, tue" in labels
    alone = Page(report(profiles={"mon": PROFILES["mon"]}))
    assert [each["aria-label"] for each in alone.all("svg")] == ["Distributions: mon"] * 3


def test_drift_is_a_trend_with_its_limit() -> None:
    shifts = {"mon": [shift("mon", None)], "tue": [shift("tue", 0.3)], "wed": [shift("wed", 0.1)]}
    labels = [str(each["aria-label"]) for each in Page(report(shifts=shifts)).all("svg")]
    told = "psi against the previous partition, partitions: 3, beyond the limit of 0.2: 1"
    assert labels.count(told) == 1
    silent = Page(report(shifts={"mon": [shift("mon", None)]}))
    assert not any("psi" in str(each["aria-label"]) for each in silent.all("svg"))


def test_of_many_partitions_the_table_shows_some_evenly_and_says_so() -> None:
    profiles = {f"{n:03}": {"spend": Profile(n, 0, 0.0)} for n in range(365)}
    page = Page(report(profiles=profiles))
    shown = [int(row[0]) for row in page.of["feature-spend"][1:]]
    assert len(shown) == 60
    assert (shown[0], shown[-1]) == (0, 364)
    assert {after - before for before, after in pairwise(shown)} <= {6, 7}
    assert "60 of 365 partitions, evenly chosen." in page.text


def test_a_feature_added_later_is_shown_where_it_is() -> None:
    profiles = {"mon": {}, "tue": PROFILES["tue"]}
    page = Page(report(profiles=profiles))
    assert [row[0] for row in page.of["feature-spend"]] == ["Partition", "tue"]
    assert "No statistics." in Page(report(verdict("mon"), profiles={})).text


# ------------------------------------------------------------------ what must not be on it


def test_personal_features_are_counted_and_never_shown() -> None:
    leaking = Profile(
        2,
        0,
        0.0,
        2,
        mean=4171.25,
        minimum=4171.0,
        edges=(1.0, 2.0),
        histogram=(2,),
        top=(("ann@x", 2),),
    )
    profiles = {"mon": {"mail": leaking}, "tue": {"mail": leaking}}
    failed = verdict("mon", "failed", feature="mail", observed=4171.25, reason="found 4171.25")
    html = report(failed, profiles=profiles)
    assert "ann@x" not in html
    assert "4171" not in html
    assert "4,171" not in html
    page = Page(html)
    assert "Personal: only counted." in page.text
    assert page.of["feature-mail"][1] == ["mon", "✕ rejected", "2", "0", "0%", "2"]


def test_reasons_that_only_count_are_shown_of_personal_features_too() -> None:
    failed = verdict(
        "mon", "failed", feature="mail", observed=0.5, unexpected_count=1, reason="1 of 2 rows"
    )
    assert "1 of 2 rows" in report(failed)


def test_text_of_others_is_escaped() -> None:
    html = report(verdict("<script>", "failed", reason="<script>"), run_id="<script>")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "&lt;script&gt;alert(2)" in html


def test_nothing_is_fetched_and_nothing_runs() -> None:
    html = report(verdict("mon"))
    addresses = set(re.findall(r"https?://[^\"' <]*", html))
    assert addresses == {"http://www.w3.org/2000/svg"}
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert "url(" not in html
    assert "@import" not in html


def test_those_who_do_not_see_it_can_read_it() -> None:
    page = Page(report(verdict("tue", "failed")))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(each.get("scope") in {"col", "row"} for each in page.all("th"))
    assert all(each["role"] == "img" and each["aria-label"] for each in page.all("svg"))
    anchors = {each["id"] for each in page.all("section")}
    assert {str(each["href"]).removeprefix("#") for each in page.all("a")} == anchors


def test_the_same_facts_give_the_same_bytes() -> None:
    assert report(verdict("mon")) == report(verdict("mon"))


def test_a_year_of_partitions_stays_small() -> None:
    days = [f"{n:03}" for n in range(365)]
    profiles = {key: dict.fromkeys(GROUP.feature_names, PROFILES["tue"]["spend"]) for key in days}
    shifts = {key: [shift(key, int(key) / 1000)] for key in days}
    html = report(*(verdict(key, "failed") for key in days), profiles=profiles, shifts=shifts)
    assert len(html.encode()) / len(GROUP.features) < 150_000
