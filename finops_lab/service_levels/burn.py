"""How fast error budgets burn: several windows, several rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal

import polars as pl

from finops_lab.errors import InputError
from finops_lab.service_levels._chance import MOST_CHANCE, by_chance, counted_words
from finops_lab.service_levels._sliding import grid, opened, ratios, whole_slots, within
from finops_lab.service_levels.promises import BY_DAY, allowance, promised
from finops_lab.service_levels.schemas import BURNS, PROMISE, SLOT_S, Schema

__all__ = [
    "LEAST_ROWS",
    "WORKBOOK",
    "BurnWindow",
    "burn_peaks",
    "burn_rates",
    "burn_series",
    "measured",
    "peaks_of",
    "told",
]

LEAST_ROWS = 5


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
        Rows of the log that each window must hold. A log of one call in a thousand may have seen a
        single call in five minutes, and that it failed proves nothing.
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
    numbers = measured(events, slos, first, last, windows, least_rows, most_chance)
    return told(numbers, slos, windows, least_rows)


def measured(
    events: pl.LazyFrame | pl.DataFrame,
    slos: pl.DataFrame | pl.LazyFrame,
    first: datetime,
    last: datetime,
    windows: Sequence[BurnWindow],
    least_rows: int,
    most_chance: float,
) -> pl.DataFrame:
    """Return the numbers of `burn_series` alone: a year of moments needs no words for each."""
    promises = promised(slos)
    found = opened(events, promises).filter(pl.col("slot_s") == SLOT_S)
    promises = promises.filter(~pl.col("objective").is_in(BY_DAY))
    first, last = whole_slots(first), whole_slots(last)
    if promises.is_empty() or not windows:
        return pl.DataFrame(schema=_MEASURED)
    back = max(window.long_s for window in windows)
    sums = grid(found, promises, first=first, last=last, slot_s=SLOT_S, back_s=back)
    biggest = int(sums.select(pl.col("total").max()).item() or 0) * 1000
    allowed = pl.Series("_allowed", [float(allowance(t)) for t in promises["target"]], pl.Float64)
    parts = []
    for place, window in enumerate(windows):
        limits = {
            slo: Fraction(window.rate) * allowance(target)
            for slo, target in promises.select("slo", "target").iter_rows()
        }
        factors = ratios(promises, limits, biggest).join(promises.select("slo", allowed), on="slo")
        pair = _proved(_pair(sums, window, factors, first, least_rows), window, most_chance)
        parts.append(pair.with_columns(window=pl.lit(place, pl.Int8)).select(list(_MEASURED)))
    return pl.concat(parts)


def _pair(
    sums: pl.DataFrame, window: BurnWindow, factors: pl.DataFrame, first: datetime, least_rows: int
) -> pl.DataFrame:
    names = ("bad", "total", "rows")
    more = ("bad_rows", "squares", "bad_squares")
    frame = sums.lazy().select(
        "slo",
        "at",
        *(within(name, window.long_s // SLOT_S).name.prefix("long_") for name in (*names, *more)),
        *(within(name, window.short_s // SLOT_S).name.prefix("short_") for name in names),
    )
    ends = ("long", "short")
    # Counts in thousandths are whole numbers.
    exceeds = [
        pl.col(f"{e}_bad").to_physical() * pl.col("den") > pl.col(f"{e}_total").to_physical() * pl.col("num")
        for e in ends
    ]
    rates = [
        pl.when(pl.col(f"{e}_total") > 0)
        .then(
            pl.col(f"{e}_bad").cast(pl.Float64) / pl.col(f"{e}_total").cast(pl.Float64) / pl.col("_allowed")
        )
        .alias(f"{e}_rate")
        for e in ends
    ]
    few = pl.min_horizontal("long_rows", "short_rows") < least_rows
    return (
        frame.filter(pl.col("at") >= first)
        .join(factors.lazy(), on="slo", how="left")
        .with_columns(*rates, pl.all_horizontal(exceeds).alias("exceeds"), few.alias("few"))
        .collect()
    )


def _proved(frame: pl.DataFrame, window: BurnWindow, most_chance: float) -> pl.DataFrame:
    """Ask whether bad rows are more than chance, where windows exceed and hold enough rows.

    Of a sampled log: whether fewer bad calls than the rate of the window would look like that. A log
    of every call exceeds the rate for a fact, and the question is whether a service that keeps its
    promise would: an outage pages at once, and one bad call of twelve does not.
    """
    named = {f"long_{name}": name for name in ("bad", "total", "squares", "bad_squares")}
    sampled = pl.col("long_squares") > pl.col("long_total")
    rate = float(window.rate)
    share = (pl.when(sampled).then(rate).otherwise(min(rate, 1.0)) * pl.col("_allowed")).alias("share")
    frame = frame.with_row_index("_row")
    high = frame.filter(pl.col("exceeds") & ~pl.col("few")).select("_row", share, *named)
    found = by_chance(high.rename(named)).select("_row", "share", "worth_bad", "worth", "chance")
    proved = (pl.col("chance") <= most_chance).fill_null(False).alias("proved")
    whole = frame.join(found, on="_row", how="left", maintain_order="left").drop("_row")
    return whole.with_columns(proved, sampled.alias("sampled"))


def told(
    numbers: pl.DataFrame, slos: pl.DataFrame | pl.LazyFrame, windows: Sequence[BurnWindow], least_rows: int
) -> pl.DataFrame:
    """Put what was measured in words, as `burn_series` returns it."""
    promises = promised(slos).select(PROMISE.keys()).with_row_index("_slo")
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
    counts = f"{{}} rows in the long window and {{}} in the short one: it takes {least_rows} to tell"
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
    return _highest(series, ["slo", "window", "severity", "threshold", "at"], every)


def peaks_of(numbers: pl.DataFrame, windows: Sequence[BurnWindow]) -> pl.DataFrame:
    """Return `burn_peaks` by the hour of what was `measured`: names are for few rows."""
    highest = _highest(numbers, ["slo", "window", "at"], "1h").rename({"window": "_at"})
    named = highest.join(_names(windows), on="_at")
    keys = ["slo", "window", "severity", "threshold", "at"]
    return named.select(*keys, "long_rate", "short_rate").sort(keys)


def _highest(series: pl.DataFrame | pl.LazyFrame, keys: list[str], every: str) -> pl.DataFrame:
    # A moment is the end of its slot: the one at 10:00 belongs to the hour before.
    step = (pl.col("at") - pl.duration(microseconds=1)).dt.truncate(every).alias("at")
    frame = series.lazy().with_columns(step)
    return frame.group_by(keys).agg(pl.col("long_rate", "short_rate").max()).sort(keys).collect()


def _names(windows: Sequence[BurnWindow]) -> pl.DataFrame:
    return pl.DataFrame(
        [(i, w.name, w.severity, float(w.rate)) for i, w in enumerate(windows)],
        schema={"_at": pl.Int8, "window": pl.String, "severity": pl.String, "threshold": pl.Float64},
        orient="row",
    )
