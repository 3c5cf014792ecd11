"""How fast error budgets burn: several windows, several rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import polars as pl

from finops_lab.errors import InputError
from finops_lab.service_levels._chance import MOST_CHANCE, by_chance, counted_words
from finops_lab.service_levels._parts import Parts, by_promise
from finops_lab.service_levels._sliding import (
    Running,
    above,
    chosen,
    counted,
    running,
    whole_slots,
)
from finops_lab.service_levels.promises import BY_DAY, allowance, promised
from finops_lab.service_levels.schemas import BURNS, COUNTED, PROMISE, SLOT_S, Schema

__all__ = [
    "LEAST_ROWS",
    "WORKBOOK",
    "BurnWindow",
    "Burning",
    "burn_peaks",
    "burn_rates",
    "burn_series",
    "burns_of",
    "peaks_of",
    "told",
]

if TYPE_CHECKING:
    import numpy as np

LEAST_ROWS = 5
_SUMMED = ("bad", "total", "rows", "bad_rows", "squares", "bad_squares")
_RATES = ("long_rate", "short_rate")


@dataclass(frozen=True)
class BurnWindow:
    """A pair of windows that burn when both burn faster than `rate`.

    Attributes
    ----------
    name : str
        Such as ``1 h / 5 m``.
    long_s, short_s : int
        Lengths in seconds, whole slots of 300.
    rate : decimal.Decimal
        1 spends the budget exactly by the end of its period.
    severity : {"page", "ticket"}
        What it calls for.
    """

    name: str
    long_s: int
    short_s: int
    rate: Decimal
    severity: Literal["page", "ticket"]

    def __post_init__(self) -> None:
        if not 0 < self.short_s <= self.long_s or self.long_s % SLOT_S or self.short_s % SLOT_S:
            raise InputError(
                f"the windows of {self.name!r} are no whole slots of {SLOT_S} s, the short one first"
            )


# Google, "The Site Reliability Workbook" (2018), chapter 5, "Alerting on SLOs", table 5-8.
WORKBOOK = (
    BurnWindow("1 h / 5 m", 3_600, 300, Decimal("14.4"), "page"),
    BurnWindow("6 h / 30 m", 21_600, 1_800, Decimal(6), "page"),
    BurnWindow("3 d / 6 h", 259_200, 21_600, Decimal(1), "ticket"),
)


def burn_series(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    first: datetime,
    last: datetime,
    *,
    windows: Sequence[BurnWindow] = WORKBOOK,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
) -> pl.DataFrame:
    """Work out burn rates at the end of every slot of five minutes from `first` to `last`.

    The burn rate is the share of bad events, divided by the share that the target leaves room for.
    A pair burns when both its windows are above its rate; they are compared exactly.

    Parameters
    ----------
    events : polars.LazyFrame or polars.DataFrame
        `finops_lab.service_levels.schemas.EVENTS`. Those before `first` count for the long windows.
    slos : polars.DataFrame or polars.LazyFrame
        The `slos` contract. Objectives judged by day have no burn rates and no rows here.
    first, last : datetime.datetime
        With a time zone. Slots that end then or between.
    windows : sequence of BurnWindow
        The SRE workbook's by default.
    least_rows : int
        Calls that each window must have seen, before sample weights. A log of one call in a thousand
        may have seen a single call in five minutes, and that it failed proves nothing.
    most_chance : float
        A pair burns where so many bad rows in the long window are less likely than this: of a
        sampled log were the share of bad calls at the threshold, of a log of every call were the
        promise just kept (`finops_lab.service_levels._chance.by_chance`). 1 asks for no proof.

    Returns
    -------
    polars.DataFrame
        `finops_lab.service_levels.schemas.BURNS`, sorted by name, window and moment. Rates are null
        where a window has no events.

    Raises
    ------
    InputError
        When a moment has no time zone, or an event's objective is not among the objectives.
    """
    promises = promised(slos)
    parts = by_promise(events, promises)
    found = [
        burning.rows(burning.exceeds | ~burning.exceeds, most_chance)
        for burning in burns_of(parts, promises, first, last, windows, least_rows)
    ]
    return told(found, promises, windows, least_rows)


def burns_of(
    parts: Parts,
    promises: pl.DataFrame,
    first: datetime,
    last: datetime,
    windows: Sequence[BurnWindow],
    least_rows: int,
) -> Iterator[Burning]:
    """Work out the burn rates of `burn_series`, of some promises and one pair of windows at a time."""
    wanted = promises.filter(~pl.col("objective").is_in(BY_DAY))
    targets = dict(wanted.select("slo", "target").iter_rows())
    first, last = whole_slots(first), whole_slots(last)
    if not targets or not windows:
        return
    back = max(window.long_s for window in windows) // SLOT_S
    begin = first - timedelta(seconds=SLOT_S) * (back + 1)
    slots = max((last - begin) // timedelta(seconds=SLOT_S), back)
    for some, events in parts.some(list(targets)):
        sums = running(events.filter(slot_s=SLOT_S), some, begin, slots, SLOT_S, _SUMMED)
        allowed = [allowance(targets[slo]) for slo in some]
        for place, window in enumerate(windows):
            yield _burning(sums, window, place, allowed, back, least_rows)


def _burning(
    sums: Running, window: BurnWindow, place: int, allowed: list[Fraction], since: int, least_rows: int
) -> Burning:
    import numpy as np

    long = {name: sums.within(name, window.long_s // SLOT_S, since) for name in _SUMMED}
    short = {name: sums.within(name, window.short_s // SLOT_S, since) for name in ("bad", "total", "rows")}
    limits = [Fraction(window.rate) * share for share in allowed]
    shares = np.array([float(share) for share in allowed])[:, None]
    rates = []
    for end in (long, short):
        total = end["total"].astype(np.float64)
        nothing = np.full_like(total, np.nan)
        rates.append(np.divide(end["bad"].astype(np.float64), total, out=nothing, where=total > 0) / shares)
    exceeds = above(long["bad"], long["total"], limits) & above(short["bad"], short["total"], limits)
    few = np.minimum(long["rows"], short["rows"]) < least_rows
    sampled = long["squares"] > long["total"]
    at = sums.at.slice(since)
    long_rate, short_rate = rates
    return Burning(
        window, place, sums.slos, allowed, at, long, short, long_rate, short_rate, exceeds, few, sampled
    )


@dataclass(frozen=True)
class Burning:
    """Burn rates of some promises (rows) at the ends of slots (columns), for one pair of windows.

    Attributes
    ----------
    window : BurnWindow
        The pair.
    place : int
        Its place among the windows.
    slos : list of str
        The promises, in order of rows.
    allowed : list of fractions.Fraction
        The share of events of each that may be bad.
    at : polars.Series
        The moments.
    long, short : dict of str to numpy.ndarray
        Counts of the two windows; calls in thousandths.
    long_rate, short_rate : numpy.ndarray
        Burn rates; NaN where a window has no events.
    exceeds, few, sampled : numpy.ndarray
        Whether both rates are above that of the window, whether a window holds too few rows to tell,
        whether the log of the long window is a sample.
    """

    window: BurnWindow
    place: int
    slos: list[str]
    allowed: list[Fraction]
    at: pl.Series
    long: Mapping[str, np.ndarray]
    short: Mapping[str, np.ndarray]
    long_rate: np.ndarray
    short_rate: np.ndarray
    exceeds: np.ndarray
    few: np.ndarray
    sampled: np.ndarray

    def rows(self, such: np.ndarray, most_chance: float) -> pl.DataFrame:
        """Return the chosen moments with counts, rates and what is proved, one row each."""
        if not such.any():
            return pl.DataFrame(schema=_MEASURED)
        counts = {f"long_{name}": self.long[name] for name in _SUMMED}
        counts["short_rows"] = self.short["rows"]
        allowed = pl.Series([float(share) for share in self.allowed], dtype=pl.Float64)
        frame = chosen(self.slos, self.at, such).with_columns(
            pl.lit(self.place, pl.Int8).alias("window"),
            allowed.gather(such.nonzero()[0]).alias("_allowed"),
            *(counted(values, such, _MEASURED[name]).alias(name) for name, values in counts.items()),
            *(pl.Series(name, getattr(self, name)[such]).fill_nan(None) for name in _RATES),
            *(pl.Series(name, getattr(self, name)[such]) for name in ("exceeds", "few", "sampled")),
        )
        return _proved(frame, self.window, most_chance).select(list(_MEASURED))

    def peaks(self) -> pl.DataFrame:
        """Return the highest burn rates of every hour: ``slo``, ``window`` (its place), ``at`` and rates."""
        import numpy as np

        hours = self.at.dt.offset_by("-1us").dt.truncate("1h")
        begins = np.flatnonzero(hours.to_physical().diff().fill_null(1).to_numpy())
        every = np.ones((len(self.slos), begins.size), dtype=bool)
        rates = {
            name: pl.Series(np.fmax.reduceat(getattr(self, name), begins, axis=1)[every]).fill_nan(None)
            for name in _RATES
        }
        place = pl.lit(self.place, pl.Int8).alias("window")
        return chosen(self.slos, hours.gather(begins), every).with_columns(
            place, **{name: rate.cast(pl.Float64) for name, rate in rates.items()}
        )


def _proved(frame: pl.DataFrame, window: BurnWindow, most_chance: float) -> pl.DataFrame:
    """Ask whether bad rows are more than chance, where windows exceed and hold enough rows.

    Of a sampled log: whether fewer bad calls than the rate of the window would look like that. A log
    of every call exceeds the rate for a fact, and the question is whether a service that keeps its
    promise would: an outage pages at once, and one bad call of twelve does not.
    """
    named = {f"long_{name}": name for name in ("bad", "total", "squares", "bad_squares")}
    rate = float(window.rate)
    share = (pl.when("sampled").then(rate).otherwise(min(rate, 1.0)) * pl.col("_allowed")).alias("share")
    frame = frame.with_row_index("_row")
    high = frame.filter(pl.col("exceeds") & ~pl.col("few")).select("_row", share, *named)
    found = by_chance(high.rename(named)).select("_row", "share", "worth_bad", "worth", "chance")
    proved = (pl.col("chance") <= most_chance).fill_null(False).alias("proved")
    whole = frame.join(found, on="_row", how="left", maintain_order="left").drop("_row")
    return whole.with_columns(proved)


def told(
    found: Sequence[pl.DataFrame], promises: pl.DataFrame, windows: Sequence[BurnWindow], least_rows: int
) -> pl.DataFrame:
    """Put rows of `Burning` in words, as `burn_series` returns them."""
    numbers = pl.concat([pl.DataFrame(schema=_MEASURED), *found])
    promises = promises.select(PROMISE.keys()).with_row_index("_slo")
    named = _names(windows)
    nothing = pl.col("long_total") == 0
    status = (
        pl.when(nothing)
        .then(pl.lit("no events"))
        .when("few")
        .then(pl.lit("too few rows"))
        .when("proved")
        .then(pl.lit("burning"))
        .when("exceeds")
        .then(pl.lit("within chance"))
        .otherwise(pl.lit("calm"))
    )
    counts = f"{{}} calls seen in the long window and {{}} in the short one: it takes {least_rows} to tell"
    at = pl.when("sampled").then(pl.lit("at the threshold")).otherwise(pl.lit("where the promise is kept"))
    reason = (
        pl.when(nothing)
        .then(pl.lit("the log has no events in the long window"))
        .when("few")
        .then(pl.format(counts, "long_rows", "short_rows"))
        .when(pl.col("exceeds") & ~pl.col("proved"))
        .then(counted_words("long_bad_rows", "long_rows", at))
    )
    return (
        numbers.lazy()
        .rename({"window": "_at"})
        .join(promises.lazy(), on="slo")
        .join(named.lazy(), on="_at")
        .sort("_slo", "_at", "at")
        .select(
            *(name for name in BURNS if name not in ("status", "reason")),
            status.alias("status"),
            reason.alias("reason"),
        )
        .collect()
    )


_MEASURED: Schema = {
    "slo": pl.String,
    "window": pl.Int8,  # its place among the windows
    **{name: kind for name, kind in BURNS.items() if name == "at" or name.startswith(("long_", "short_"))},
    "long_squares": COUNTED,
    "long_bad_squares": COUNTED,
    "exceeds": pl.Boolean,
    "few": pl.Boolean,
    "sampled": pl.Boolean,
    # Of moments that were tested.
    **dict.fromkeys(("share", "worth_bad", "worth", "chance"), pl.Float64),
    "proved": pl.Boolean,
}


def burn_rates(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    at: datetime,
    *,
    windows: Sequence[BurnWindow] = WORKBOOK,
    least_rows: int = LEAST_ROWS,
    most_chance: float = MOST_CHANCE,
) -> pl.DataFrame:
    """Work out burn rates at a moment: `burn_series` at the end of the last slot that is over then.

    Examples
    --------
    >>> from datetime import UTC, timedelta
    >>> noon = datetime(2026, 10, 1, 12, tzinfo=UTC)
    >>> slos = pl.DataFrame({"service": ["chat"], "objective": ["availability"], "target": [0.999]})
    >>> counted = {"good": 980, "bad": 20, "total": 1000, "unknown": 0, "rows": 1000, "bad_usd": 0,
    ...     "bad_unpriced": 20, "bad_rows": 20, "squares": 1000, "bad_squares": 20}
    >>> name = {"slo": "chat: availability", "dimension": "feature", "service": "chat"}
    >>> from finops_lab.service_levels.schemas import EVENTS
    >>> seen = pl.DataFrame([{**name, "objective": "availability", "slot_s": 300, **counted,
    ...     "slot": noon - timedelta(minutes=5 * i)} for i in range(1, 13)], schema=EVENTS)
    >>> rates = burn_rates(seen, slos, noon)
    >>> rates.select("window", pl.col("long_rate").round(2), "status").rows()
    [('1 h / 5 m', 20.0, 'burning'), ('6 h / 30 m', 20.0, 'burning'), ('3 d / 6 h', 20.0, 'burning')]
    """
    return burn_series(events, slos, at, at, windows=windows, least_rows=least_rows, most_chance=most_chance)


def burn_peaks(series: pl.DataFrame | pl.LazyFrame, *, every: str = "1h") -> pl.DataFrame:
    """Return the highest burn rates of every hour, few enough to draw.

    Parameters
    ----------
    series : polars.DataFrame or polars.LazyFrame
        From `burn_series`.
    every : str
        Length of a step, such as ``1h`` or ``30m``.

    Returns
    -------
    polars.DataFrame
        ``slo``, ``window``, ``severity``, ``threshold``, ``at`` (begin of the step), ``long_rate``
        and ``short_rate``, sorted.
    """
    keys = ["slo", "window", "severity", "threshold", "at"]
    # A moment is the end of its slot: the one at 10:00 belongs to the hour before.
    step = (pl.col("at") - pl.duration(microseconds=1)).dt.truncate(every).alias("at")
    frame = series.lazy().with_columns(step)
    return frame.group_by(keys).agg(pl.col(_RATES).max()).sort(keys).collect()


def peaks_of(peaks: Sequence[pl.DataFrame], windows: Sequence[BurnWindow]) -> pl.DataFrame:
    """Return `burn_peaks` by the hour of the `Burning.peaks` of all promises: names are for few rows."""
    nothing = pl.DataFrame(schema={name: _MEASURED[name] for name in ("slo", "at", "window", *_RATES)})
    named = pl.concat([nothing, *peaks]).rename({"window": "_at"}).join(_names(windows), on="_at")
    keys = ["slo", "window", "severity", "threshold", "at"]
    return named.select(*keys, *_RATES).sort(keys)


def _names(windows: Sequence[BurnWindow]) -> pl.DataFrame:
    return pl.DataFrame(
        [(i, w.name, w.severity, float(w.rate)) for i, w in enumerate(windows)],
        schema={"_at": pl.Int8, "window": pl.String, "severity": pl.String, "threshold": pl.Float64},
        orient="row",
    )
