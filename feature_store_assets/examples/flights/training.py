"""The model of the example: which flights will land more than 15 minutes late.

It predicts at the scheduled departure, from the schedule and from what was known by then. Frames
come in, values go out: the store's point-in-time join brings the features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from feature_store_assets.examples.flights.data import LATE_MINUTES, NEW_YORK

TIMESTAMP = "scheduled_departure"
KEYS = ("carrier", "tailnum", "origin", "dest")
LABEL = "late"
# What the timetable alone tells.
SCHEDULE = ("carrier", "origin", "distance", "scheduled_minutes", "departure_minute", "weekday")
SPINE = (TIMESTAMP, *KEYS, *(name for name in SCHEDULE if name not in KEYS), "month", LABEL)

_SEED = 2013
# Beside other work on the same cores OpenMP's threads wait for each other: 118 s instead of 19.
_ONE_THREAD = {"limits": 1, "user_api": "openmp"}
# Enough for a stable order of importance, few enough for seconds.
_IMPORTANCE_ROWS = 10_000


@dataclass(frozen=True)
class Trained:
    """A fitted model and how well it ranks the flights of October to December.

    Parameters
    ----------
    model
        A scikit-learn pipeline; `score` hands it what it needs.
    features
        The columns that it reads beside the schedule's.
    auc, schedule_auc
        Areas under the ROC curve on the test months, of this model and of one that knows the
        timetable only: 0.5 is guessing, 1 is perfect.
    rows, test_rows
        How many flights it learned from, and how many it was judged by.
    """

    model: Any
    features: tuple[str, ...]
    auc: float
    schedule_auc: float
    rows: int
    test_rows: int


def spine(flights: pl.DataFrame) -> pl.DataFrame:
    """What to predict: one row per flight that arrived, keys, time, timetable and label.

    Cancelled and diverted flights never arrived, so that they have no label.
    """
    local = pl.col(TIMESTAMP).dt.convert_time_zone(NEW_YORK)
    return (
        flights.filter(pl.col("arr_delay").is_not_null())
        .with_columns(
            scheduled_minutes=(pl.col("scheduled_arrival") - pl.col(TIMESTAMP)).dt.total_minutes(),
            departure_minute=local.dt.hour().cast(pl.Int64) * 60 + local.dt.minute(),
            weekday=local.dt.weekday().cast(pl.Int64),
            month=local.dt.month().cast(pl.Int64),
            late=pl.col("arr_delay") > LATE_MINUTES,
        )
        .select(SPINE)
    )


def train(learning: pl.DataFrame, test: pl.DataFrame) -> Trained:
    """Fit on one part of a training set, judge on the other.

    Parameters
    ----------
    learning, test
        Spines with the features joined to them: every column that is none of the spine's, and
        no instant, is one.
    """
    known = learning.drop(pl.selectors.temporal())  # an instant means nothing to a model
    features = tuple(name for name in known.columns if name not in SPINE)
    model = _fit(learning, features)
    schedule_only = _fit(learning, ())
    return Trained(
        model=model,
        features=features,
        auc=_auc(model, test, features),
        schedule_auc=_auc(schedule_only, test, ()),
        rows=learning.height,
        test_rows=test.height,
    )


def score(trained: Trained, frame: pl.DataFrame) -> pl.Series:
    """The probability that each flight lands late; `frame` needs no label."""
    inputs = _inputs(frame, trained.features)
    return pl.Series("probability", _probability(trained.model, inputs))


def importances(trained: Trained, frame: pl.DataFrame) -> pl.DataFrame:
    """How much AUC is lost when one column is shuffled, the greatest loss first.

    Parameters
    ----------
    frame
        Flights with label; some are sampled, so pass those that the model was not fitted on.
    """
    some = frame.sample(min(_IMPORTANCE_ROWS, frame.height), seed=_SEED)
    inputs = _inputs(some, trained.features)

    def auc(inputs: pl.DataFrame) -> float:
        return float(roc_auc_score(some[LABEL], _probability(trained.model, inputs)))

    whole = auc(inputs)
    lost = {
        column: whole - auc(inputs.with_columns(pl.col(column).shuffle(seed=_SEED)))
        for column in inputs.columns
    }
    table = pl.DataFrame({"column": list(lost), "auc_lost": list(lost.values())})
    return table.sort("auc_lost", descending=True)


def _inputs(frame: pl.DataFrame, features: tuple[str, ...]) -> pl.DataFrame:
    """The columns that the model reads."""
    numbers = pl.selectors.numeric() | pl.selectors.boolean()
    return frame.select(*SCHEDULE, *features).with_columns(numbers.cast(pl.Float64))


def _fit(frame: pl.DataFrame, features: tuple[str, ...]) -> Any:
    inputs = _inputs(frame, features)
    words = inputs.select(pl.selectors.string()).columns
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    classifier = HistGradientBoostingClassifier(
        learning_rate=0.1, max_iter=120, max_leaf_nodes=23, random_state=_SEED
    )
    encoded = make_column_transformer((codes, words), remainder="passthrough")
    with threadpool_limits(**_ONE_THREAD):
        return make_pipeline(encoded, classifier).fit(inputs, frame[LABEL])


def _probability(model: Any, inputs: pl.DataFrame) -> Any:
    with threadpool_limits(**_ONE_THREAD):
        return np.asarray(model.predict_proba(inputs))[:, 1]


def _auc(model: Any, frame: pl.DataFrame, features: tuple[str, ...]) -> float:
    return float(roc_auc_score(frame[LABEL], _probability(model, _inputs(frame, features))))
