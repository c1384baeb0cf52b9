"""The points in time that a value may be: those that every step after the first can hold.

They are the ones of Python's `datetime` and `date`, in UTC. Arrow, Parquet, Polars and msgpack hold
more; Delta's log, ISO 8601 and Python do not.
"""

from datetime import UTC, date, datetime, timedelta

from feature_store_assets.errors import DataError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_FIRST_DAY = date(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Whole microseconds since 1970, exact."""
    return (moment - EPOCH) // _MICROSECOND


def days(day: date) -> int:
    """Days since 1970."""
    return (day - _FIRST_DAY).days


FIRST_MICRO, LAST_MICRO = micros(FIRST), micros(LAST)
FIRST_NUMBER, LAST_NUMBER = days(date.min), days(date.max)


def instant(number: int) -> datetime:
    """The instant so many microseconds after 1970, UTC; the nearest one that Python has.

    Examples
    --------
    >>> instant(0).isoformat(), instant(2**62).isoformat()
    ('1970-01-01T00:00:00+00:00', '9999-12-31T23:59:59.999999+00:00')
    """
    try:
        return EPOCH + timedelta(microseconds=number)
    except OverflowError:
        return FIRST if number < 0 else LAST


def day(number: int) -> date:
    """The day so many days after 1970; the nearest one that Python has."""
    try:
        return _FIRST_DAY + timedelta(days=number)
    except OverflowError:
        return date.min if number < 0 else date.max


def earlier(moment: datetime, age: timedelta) -> datetime:
    """The instant so long before another; the first one that there is if that is none.

    Examples
    --------
    >>> earlier(FIRST, timedelta(days=1)) == FIRST
    True
    """
    try:
        return moment - age
    except OverflowError:
        return FIRST


def utc(moment: datetime, what: str) -> datetime:
    """Return an instant that a caller gives, in UTC; a naive one means local time.

    Parameters
    ----------
    what
        What it is, for the message.

    Raises
    ------
    DataError
        It is no datetime, or in UTC it lies outside the years 1 to 9999.
    """
    if not isinstance(moment, datetime):
        raise DataError(
            f"{what} is a {type(moment).__name__}. Give a datetime with a time zone, such as "
            f"datetime(2024, 1, 31, tzinfo=UTC)."
        )
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise DataError(
            f"{what} is {moment.isoformat()}. In UTC that lies outside the years 1 to 9999. Leave "
            f"it out where there is no bound, or give an instant with tzinfo=UTC."
        ) from None


def bounds(**given: datetime | None) -> list[datetime | None]:
    """Return bounds that a caller gives by name, in UTC as `utc` returns them; None for none."""
    return [None if moment is None else utc(moment, name) for name, moment in given.items()]
