"""The events frame: everything that any detector found, one row each, in one set of columns."""

from __future__ import annotations

from datetime import UTC, date, datetime
from hashlib import sha256

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY

__all__ = ["EVENTS", "GRAINS", "KINDS", "SCOPES", "STATUSES", "as_events", "event_id"]

_MOMENT = pl.Datetime("us", "UTC")
KINDS = ("spend", "telemetry", "drift", "failure_mode")
GRAINS = ("day", "hour", "5m")
STATUSES = ("open", "confirmed", "false alarm", "expected")
# Column that a slice pins down, by the dimension that it is a value of.
SCOPES = {name: f"x_{name}" for name in ("provider", "service", "team", "model", "feature")}
EVENTS: dict[str, pl.DataType] = {
    "id": pl.String(),
    "kind": pl.String(),
    "failure_mode": pl.String(),
    "detector": pl.String(),
    "metric": pl.String(),
    "unit": pl.String(),
    "dimension": pl.String(),
    "value": pl.String(),
    **{column: pl.String() for column in SCOPES.values()},
    "first": _MOMENT,
    "last": _MOMENT,
    "grain": pl.String(),
    "direction": pl.String(),
    "actual": pl.Float64(),
    "expected": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "excess_amount": MONEY,
    "BillingCurrency": pl.String(),
    "score": pl.Float64(),
    "threshold": pl.Float64(),
    "status": pl.String(),
    "detected": _MOMENT,
    "note": pl.String(),
    "cause_of": pl.String(),
}
_NEEDED = ("kind", "metric", "dimension", "first")
_ALLOWED = {"kind": KINDS, "grain": GRAINS, "status": STATUSES, "direction": ("up", "down")}


def event_id(
    kind: str,
    metric: str,
    dimension: str,
    value: str | None,
    first: datetime | date,
    unit: str | None = None,
) -> str:
    """Name an event by what it is about, so that the next run finds it under the same name.

    Parameters
    ----------
    kind, metric, dimension : str
        As in `EVENTS`.
    value : str, optional
        Value of the dimension; None for the total.
    first : datetime.datetime or datetime.date
        First moment of the event, in UTC where it carries no zone. A day is its midnight.
    unit : str, optional
        Unit of the metric: one slice may be paid in two currencies.

    Returns
    -------
    str
        12 hexadecimal digits of a SHA-256.

    Examples
    --------
    >>> event_id("spend", "EffectiveCost", "team", "search", date(2026, 10, 5))
    'b010b4403fcb'
    """
    if not isinstance(first, datetime):
        first = datetime(first.year, first.month, first.day)
    moment = first.astimezone(UTC).replace(tzinfo=None) if first.tzinfo else first
    # A separator that no name holds, and a total that is no value.
    parts: tuple[str, ...] = (kind, metric, dimension, "\x00" if value is None else value, moment.isoformat())
    parts += () if unit is None else (unit,)
    return sha256("\x1f".join(parts).encode()).hexdigest()[:12]


def as_events(frame: pl.DataFrame) -> pl.DataFrame:
    """Check what a detector found, name each row and fill what it does not know.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns of `EVENTS`, at least ``kind``, ``metric``, ``dimension`` and ``first``. ``id`` is set
        where it is absent or null, ``last`` is ``first`` there, ``status`` is open
        there, and ``grain`` a day.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, ordered by first moment, dimension, value, metric and kind. Unknown is null.

    Raises
    ------
    InputError
        A column that `EVENTS` does not have, one that is needed and absent or null, a value that is
        not allowed, an event that ends before it begins, or two events of one id.

    Examples
    --------
    >>> day = datetime(2026, 10, 5)
    >>> known = {"kind": "spend", "metric": "EffectiveCost", "dimension": "total", "first": day}
    >>> found = pl.DataFrame([known])
    >>> as_events(found).select("status", "grain", "value").row(0)
    ('open', 'day', None)
    """
    for name in frame.columns:
        if name not in EVENTS:
            raise InputError("events have no such column", column=name)
    for name in _NEEDED:
        if name not in frame.columns or frame[name].null_count():
            raise InputError("an event needs it", column=name)
    events = frame.select(_column(frame, name, dtype) for name, dtype in EVENTS.items())
    events = events.with_columns(
        pl.col("last").fill_null(pl.col("first")),
        pl.col("status").fill_null("open"),
        pl.col("grain").fill_null("day"),
    )
    for name, allowed in _ALLOWED.items():
        wrong = events.filter(~pl.col(name).is_in(allowed))
        if wrong.height:
            raise InputError(
                f"{wrong[name][0]!r} is not allowed", column=name, hint=f"one of {', '.join(allowed)}"
            )
    if events.filter(pl.col("last") < pl.col("first")).height:
        raise InputError("an event ends before it begins", column="last")
    if events["id"].null_count():
        keys = events.select("kind", "metric", "dimension", "value", "first", "unit")
        events = events.with_columns(
            pl.col("id").fill_null(pl.Series([event_id(*key) for key in keys.rows()]))
        )
    twice = events.filter(pl.col("id").is_duplicated())
    if twice.height:
        one = twice.row(0, named=True)
        raise InputError(
            f"two events of {one['metric']} begin on {one['first']:%Y-%m-%d %H:%M}"
            f" at {one['dimension']} {one['value'] or ''}".rstrip(),
            column="id",
            hint="give one of them an id of its own",
        )
    return events.sort("first", "dimension", "value", "metric", "kind", "id")


def _column(frame: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    if name not in frame.columns:
        return pl.lit(None, dtype).alias(name)
    if isinstance(dtype, pl.Datetime):
        held = frame.schema[name]
        if isinstance(held, pl.Datetime) and held.time_zone:
            return pl.col(name).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        return pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.col(name).cast(dtype)
