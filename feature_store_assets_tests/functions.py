"""Functions of request-time features, good and bad: they are found by name, so they stand here."""

import random
from functools import partial, wraps

import numpy as np
import polars as pl


def per_mile(delay: pl.Series, distance: pl.Series) -> pl.Series:
    """Minutes of delay per mile.

    Of this flight.
    """
    return delay / distance


def letters(text: pl.Series) -> pl.Series:
    return text.str.len_chars().cast(pl.Int64)


def number(text: pl.Series) -> pl.Series:
    """Takes strings of digits only, as many a function does."""
    return text.str.to_integer()


def log_of(x: pl.Series) -> pl.Series:
    return pl.Series(np.log1p(np.abs(x.fill_null(0.0).to_numpy())))


def longest(tags: pl.Series) -> pl.Series:
    return tags.list.eval(pl.element().str.len_chars()).list.max().cast(pl.Int64)


# One per type, a stored value beside a request value.


def total(count: pl.Series, more: pl.Series) -> pl.Series:
    return count + more


def both(flag: pl.Series, asked: pl.Series) -> pl.Series:
    return flag & asked


def label(name: pl.Series, suffix: pl.Series) -> pl.Series:
    return name + suffix


def later_day(day: pl.Series, until: pl.Series) -> pl.Series:
    return day.zip_with((day > until).fill_null(value=False), until)


def age(seen: pl.Series, asked_at: pl.Series) -> pl.Series:
    return (asked_at - seen).dt.total_microseconds() / 1_000_000


def earlier(seen: pl.Series, asked_at: pl.Series) -> pl.Series:
    return seen.zip_with((seen < asked_at).fill_null(value=False), asked_at)


def ratio(x: pl.Series, more: pl.Series) -> pl.Series:
    return x.fill_null(1.0) / more


def hours_since_t0(asked_at: pl.Series) -> pl.Series:
    return asked_at.dt.epoch("us") / 3_600_000_000


def per_score(score: pl.Series, distance: pl.Series) -> pl.Series:
    return distance / score


# What may not be.


def centred(x: pl.Series) -> pl.Series:
    return x - x.drop_nans().mean()


def change(x: pl.Series) -> pl.Series:
    return x - x.shift(1)


def running(x: pl.Series) -> pl.Series:
    return x.fill_nan(None).cum_sum()


def ranked(x: pl.Series) -> pl.Series:
    return x.rank().cast(pl.Float64)


def filled(x: pl.Series) -> pl.Series:
    return x.fill_null(strategy="forward")


def largest(x: pl.Series) -> pl.Series:
    return pl.select(pl.repeat(x.max(), len(x), dtype=pl.Float64)).to_series()


def second(x: pl.Series) -> pl.Series:
    """Needs two rows at least."""
    return x * (x[1] if len(x) else 1.0)


def single(x: pl.Series) -> pl.Series:
    """Takes one row at most."""
    return pl.Series(x.name, [x.item()] if len(x) else [], dtype=pl.Float64)


def noise(x: pl.Series) -> pl.Series:
    return x.fill_null(0.0).fill_nan(0.0).clip(-9, 9) + random.random()


def overwritten(x: pl.Series) -> pl.Series:
    if len(x):
        x[0] = 7.5
    return x * 1.0


def whole_number(x: pl.Series) -> pl.Series:
    return x.is_null().cast(pl.Int32)


def summed(x: pl.Series) -> pl.Series:
    return pl.Series([x.sum()])


def expression(x: pl.Series) -> pl.Expr:
    return pl.lit(x)


def first_of(x: pl.Series) -> pl.Series:
    first: float = x.to_list()[0]
    return x * first


def broken(x: pl.Series) -> pl.Series:
    """Raises on what the trial does not know."""
    if "secret" in x.to_list():
        raise KeyError(x.to_list())
    return x.str.len_chars().cast(pl.Int64) if "long" not in x.to_list() else x


def nothing() -> pl.Series:
    return pl.Series([], dtype=pl.Float64)


def any_number(*x: pl.Series) -> pl.Series:
    return x[0]


def by_keyword(x: pl.Series, *, scale: pl.Series) -> pl.Series:
    return x * scale


def with_default(x: pl.Series, scale: float = 60.0) -> pl.Series:
    return x * scale


class Pricing:
    def price(self, x: pl.Series) -> pl.Series:
        return x


anonymous = lambda x: x  # noqa: E731  # the case
half_done = partial(per_mile)


@wraps(per_mile)
def wrapped(delay: pl.Series, distance: pl.Series) -> pl.Series:
    return delay * distance
