"""Drift rules beside the features: how far a partition may move away from what was usual.

Light values, checked where they are written; `quality.drift` measures.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast, get_args

from feature_store_assets.declaration.expect import Severity
from feature_store_assets.errors import DeclarationError, suggestion

Metric = Literal[
    "psi", "jensen_shannon", "ks", "wasserstein", "chi_square", "missing", "new_categories"
]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)

_OF_NUMBERS: Final = frozenset({"psi", "jensen_shannon", "ks", "wasserstein", "missing"})
_OF_CATEGORIES: Final = frozenset(
    {"psi", "jensen_shannon", "chi_square", "missing", "new_categories"}
)
_FITS: Final[Mapping[str, frozenset[str]]] = {
    "int64": _OF_NUMBERS,
    "float64": _OF_NUMBERS,
    "string": _OF_CATEGORIES,
    "bool": _OF_CATEGORIES,
}
_ALWAYS: Final = frozenset({"missing"})
# These never exceed 1: a larger bound would be a rule that cannot fail, or a percentage.
_SHARES: Final = frozenset({"jensen_shannon", "ks", "chi_square", "missing", "new_categories"})
_REFERENCES: Final = ("previous", "trailing", "snapshot", "training_set")
_AGAINST: Final = re.compile(r"previous|trailing:[1-9][0-9]*|(?:snapshot|training_set):\S.*")


def fits(metric: str, dtype: str, pii: bool = False) -> bool:
    """Tell whether a metric can be measured of a feature.

    Of personal features only the share of missing values is: everything else would keep their
    values beyond the partition they came in.

    Examples
    --------
    >>> fits("ks", "float64"), fits("ks", "string"), fits("psi", "string", pii=True)
    (True, False, False)
    """
    return metric in (_ALWAYS if pii else _FITS.get(dtype, _ALWAYS))


@dataclass(frozen=True)
class Drift:
    """How far the values of a partition may be from those of a reference.

    Parameters
    ----------
    metric
        "psi" (population stability index), "jensen_shannon" (distance, 0 to 1), "ks" (greatest
        distance of the two distributions, 0 to 1) and "wasserstein" (how far values moved, in
        standard deviations of the reference) judge numbers; psi and jensen_shannon judge strings
        and bools too, as do "chi_square" (Cramér's V, 0 to 1) and "new_categories" (share of
        values that the reference lacks). "missing" (change of the share without a value) judges
        every feature.
    at_most
        The highest value that is still fine; 0.1 of psi is usually called a small, 0.2 a large
        shift.
    features
        The features it is about; none means every feature that the metric fits. A later rule
        that names a feature takes the place of an earlier general one of the same metric.
    against
        What to compare with: "previous" (the partition before), "trailing:7" (the last seven
        together, once a quarter of them is there), "snapshot:<name>" or "training_set:<name>".
    min_rows
        Fewer values on either side are not judged: chance alone moves small samples, psi by about
        `(bins - 1) * (1 / rows + 1 / reference rows)`.
    severity
        "warning" (the default) and "info" are only shown; "critical" keeps the partition out.

    Examples
    --------
    >>> rule = Drift("psi", at_most=0.2, against="trailing:7")
    >>> rule.reference, rule.severity
    ('the last 7 partitions', 'warning')
    >>> Drift("ps", at_most=0.2)
    Traceback (most recent call last):
        ...
    feature_store_assets.errors.names.DeclarationError: 'ps' is no drift metric. Did you mean 'psi'?
    """

    metric: Metric
    at_most: float
    _: KW_ONLY
    features: tuple[str, ...] = ()
    against: str = "previous"
    min_rows: int = 1000
    severity: Severity = "warning"

    if TYPE_CHECKING:
        # What may be written; __post_init__ makes it what is stored.
        def __init__(
            self,
            metric: Metric,
            at_most: float,
            *,
            features: Sequence[str] = (),
            against: str = "previous",
            min_rows: int = 1000,
            severity: Severity = "warning",
        ) -> None: ...

    def __post_init__(self) -> None:
        for what, given, known in (
            ("drift metric", self.metric, METRICS),
            ("severity", self.severity, get_args(Severity)),
        ):
            if given not in known:
                raise DeclarationError(f"'{given}' is no {what}." + suggestion(str(given), known))
        _check_at_most(self.metric, self.at_most)
        if isinstance(self.features, str):
            raise DeclarationError(
                f"features of a drift rule is a list: features=['{self.features}']."
            )
        _check_against(self.against)
        rows: object = self.min_rows
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise DeclarationError(f"min_rows is a whole number from 1 on, not {rows!r}.")
        object.__setattr__(self, "at_most", float(self.at_most))
        object.__setattr__(self, "features", tuple(dict.fromkeys(self.features)))

    @property
    def reference(self) -> str:
        """What the partition is compared with, in words."""
        kind, _, which = self.against.partition(":")
        if kind == "previous":
            return "the previous partition"
        if kind == "trailing":
            return f"the last {which} partitions" if which != "1" else "the last partition"
        return f"{kind.replace('_', ' ')} '{which}'"

    def to_json(self) -> dict[str, Any]:
        """Return what is declared; defaults are left out, so that new ones change no hash."""
        written = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.default is MISSING or getattr(self, field.name) != field.default
        }
        if self.features:
            written["features"] = list(self.features)
        return written

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**value)


def _check_at_most(metric: str, at_most: object) -> None:
    number = isinstance(at_most, int | float) and not isinstance(at_most, bool)
    bound = cast("float", at_most)
    if not number or not math.isfinite(bound) or bound < 0:
        raise DeclarationError(
            f"at_most of the drift rule '{metric}' is a number from 0 on, not {at_most!r}."
        )
    if metric in _SHARES and bound > 1:
        raise DeclarationError(
            f"'{metric}' lies between 0 and 1: at_most={bound!r} would never fail."
        )


def _check_against(against: object) -> None:
    if isinstance(against, str) and _AGAINST.fullmatch(against):
        return
    kind, _, which = str(against).partition(":")
    if kind == "trailing":
        hint = " Say how many partitions: 'trailing:7'."
    elif kind in ("snapshot", "training_set") and not which.strip():
        hint = f" Say which one: '{kind}:<name>'."
    elif kind == "previous":
        hint = " Did you mean 'previous'?"
    else:
        hint = suggestion(kind, _REFERENCES)
    raise DeclarationError(f"'{against}' is nothing to measure drift against.{hint}")
