"""Labelled events: what people know about a month, so that nothing has to be guessed from its amount."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import isfinite

import polars as pl

from finops_lab import config
from finops_lab.errors import InputError

__all__ = ["EVENTS_SCHEMA", "Event", "events_frame", "read_events"]

EVENTS_SCHEMA: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "first": pl.Date(),
    "last": pl.Date(),
    "kind": pl.String(),
    "factor": pl.Float64(),
    "amount": pl.Float64(),
    "name": pl.String(),
}
_NEEDED = ("unique_id", "first", "last", "kind", "name")
_AMOUNTS = ("one_off", "credit", "launch", "migration")
_FACTORS = ("price_cut", "price_rise", "launch", "migration")


@dataclass(frozen=True)
class Event:
    """One labelled event of a series, or of all (`unique_id` None); months are their first days."""

    unique_id: str | None
    first: date
    last: date | None
    kind: str
    factor: float | None
    amount: float | None
    name: str

    @property
    def is_price(self) -> bool:
        """Whether it is a change of price whose size is known."""
        return self.kind in ("price_cut", "price_rise") and self.factor is not None

    @property
    def is_level(self) -> bool:
        """Whether the months after it are of another level than those before it."""
        return self.kind in ("launch", "migration", "price_cut", "price_rise") and not self.is_price

    @property
    def is_known_amount(self) -> bool:
        """Whether it is money on top of the usual that can be taken out to the cent."""
        return self.kind in ("one_off", "credit") and self.amount is not None

    @property
    def added(self) -> float:
        """What it puts on top of a month: the amount, negative for a credit."""
        return (self.amount or 0.0) * (-1 if self.kind == "credit" else 1)

    def covers(self, month: date) -> bool:
        """Tell whether the month is one of the event's."""
        return self.first <= month and (self.last is None or month <= self.last)


def read_events(events: pl.DataFrame | pl.LazyFrame) -> list[Event]:
    """Check a frame of labelled events.

    Parameters
    ----------
    events : polars.DataFrame or polars.LazyFrame
        ``unique_id: String`` (null: every series), ``first``, ``last: Date`` (first days of months,
        `last` included, null: open end), ``kind: String``, ``name: String``, and if wanted ``factor``
        and ``amount`` (any number, null where unknown). The kinds:

        - ``one_off``: a training run, a repair: months on top of the usual;
        - ``credit``: months below the usual; a null `last` says that it still runs;
        - ``incomplete``: months whose bill is not all there;
        - ``price_cut``, ``price_rise``: `factor` is the new price over the old;
        - ``launch``, ``migration``: from `first` on the level is another; `first` is the first whole
          month of it, `factor` the level after over that before, as its drivers say. They have no
          `last`, and a change of price without its factor is treated alike.

        `amount` is what the event puts on each of its months (a credit: takes off), above 0.

    Returns
    -------
    list of Event
        By first month and name.

    Raises
    ------
    InputError
        A column is missing or of the wrong type, a kind is unknown, months are out of order or not
        first days, or a factor or amount does not fit its kind.
    """
    if not hasattr(events, "lazy"):
        raise InputError(f"events come as a frame, not as a {type(events).__name__}")
    schema = events.lazy().collect_schema()
    for column in _NEEDED:
        if column not in schema:
            raise InputError("the events have no such column", column=column, hint="see `read_events`")
    for column, wanted in EVENTS_SCHEMA.items():
        dtype = schema.get(column, wanted)
        if not (dtype == wanted or dtype == pl.Null or (wanted == pl.Float64 and dtype.is_numeric())):
            raise InputError(f"{dtype} where {wanted} is needed", column=column)
    frame = events.lazy().select(
        (pl.col(name) if name in schema else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in EVENTS_SCHEMA.items()
    )
    found = [Event(**row) for row in frame.collect().iter_rows(named=True)]
    for event in found:
        _check(event)
    return sorted(found, key=lambda event: (event.first, event.name, event.unique_id or ""))


def events_frame(events: Sequence[config.Event], dimension: str | None) -> pl.DataFrame:
    """Put ``[[events]]`` of `finops.toml` into the frame for a panel by a dimension.

    Parameters
    ----------
    events : sequence of Event
        ``[[events]]``.
    dimension : str or None
        What the panel's series are values of, such as ``team``; None for the panel of the total.

    Returns
    -------
    polars.DataFrame
        As `read_events` takes. Events of a value of another dimension are left out: nobody said which
        series they touch. Events of everything hold for every series, without their amount where
        there is a dimension: nobody said how it divides.

    Examples
    --------
    >>> cut = config.Event.model_validate(
    ...     {"name": "list prices", "kind": "price_cut", "from": "2026-03", "factor": "0.8"})
    >>> events_frame([cut], "team").select("unique_id", "first", "kind", "factor").row(0)
    (None, datetime.date(2026, 3, 1), 'price_cut', 0.8)
    """
    rows = []
    for event in events:
        if event.by not in (None, dimension):  # of a value of another dimension
            continue
        divided = event.by is None and dimension is not None
        rows.append(
            {
                "unique_id": event.value,
                "first": event.first,
                "last": event.end,
                "kind": event.kind,
                "factor": None if event.factor is None else float(event.factor),
                "amount": None if event.amount is None or divided else float(event.amount),
                "name": event.name,
            }
        )
    return pl.DataFrame(rows, schema=EVENTS_SCHEMA)


def _check(event: Event) -> None:
    known = (*_AMOUNTS, *_FACTORS, "incomplete")
    for column in ("first", "kind", "name"):
        if getattr(event, column) is None:
            raise InputError("empty in some row of the events", column=column)
    if event.kind not in known:
        kinds = ", ".join(dict.fromkeys(known))
        raise InputError(
            f"event {event.name!r}: no kind {event.kind!r}", column="kind", hint=f"one of {kinds}"
        )
    for column, month in (("first", event.first), ("last", event.last)):
        if month is not None and month.day != 1:
            raise InputError(f"event {event.name!r}: {month} is not the first of its month", column=column)
    if event.last is not None and event.last < event.first:
        raise InputError(f"event {event.name!r}: its last month is before its first", column="last")
    if event.last is None and event.kind in ("one_off", "incomplete"):
        raise InputError(f"event {event.name!r}: {event.kind} needs a last month", column="last")
    if event.last is not None and event.is_level:
        raise InputError(
            f"event {event.name!r}: a new level goes on, and has no last month",
            column="last",
            hint="a price that goes back needs its factor; what lasts for some months is a one_off",
        )
    for column, value, fitting in (
        ("factor", event.factor, _FACTORS),
        ("amount", event.amount, _AMOUNTS),
    ):
        if value is not None and event.kind not in fitting:
            raise InputError(f"event {event.name!r}: {event.kind} has no {column}", column=column)
        if value is not None and not (isfinite(value) and value > 0):
            raise InputError(f"event {event.name!r}: {column} must be above 0, not {value!r}", column=column)
    if event.factor is not None and (
        (event.kind == "price_cut" and event.factor >= 1)
        or (event.kind == "price_rise" and event.factor <= 1)
    ):
        raise InputError(
            f"event {event.name!r}: factor {event.factor:g} is no {event.kind.replace('_', ' ')}",
            column="factor",
            hint="the new price over the old: 0.65 for 35 % less",
        )
