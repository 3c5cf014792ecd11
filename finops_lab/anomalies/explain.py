"""Why an event happened: which slice, volume or price, what coincides, what was like it before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from finops_lab.anomalies.adtributor import SLICES, slices
from finops_lab.anomalies.attribution import DIMENSIONS, GROUP, MARK, Leaves, in_spans, leaves
from finops_lab.anomalies.coincidences import CAUSES, coincidences
from finops_lab.anomalies.explain_bridge import (
    BRIDGE,
    Side,
    bridge_by_calls,
    bridge_by_use,
    not_measured,
)
from finops_lab.anomalies.explain_search import Found, search
from finops_lab.anomalies.panel import Bools
from finops_lab.anomalies.sentence import bridge_words, causes_words, sentence, slice_words
from finops_lab.anomalies.similar import SIMILAR, similar_events
from finops_lab.errors import InputError
from finops_lab.money import MONEY, exact_sum

__all__ = ["FOUND", "PATH", "Explanation", "explain"]

_Frame = pl.LazyFrame | pl.DataFrame
_Schema = dict[str, pl.DataType | type[pl.DataType]]
_SUMS: _Schema = {"actual": MONEY, "expected": MONEY, "excess": MONEY, "share": pl.Float64}
FOUND: _Schema = {"rank": pl.Int64, "element": pl.Int64, "slice": pl.String, **_SUMS, "score": pl.Float64}
PATH: _Schema = {
    "element": pl.Int64,
    "step": pl.Int64,
    "dimension": pl.String,
    "value": pl.String,
    "narrows": pl.Boolean,
    **_SUMS,
}
_ENOUGH = 0.67  # of the change: Bhagwan et al.
_MOST_OF_SLICE = 0.9  # of its change in one value: worth a word
# What is worth a word beside a slice that says no resource, and beside one that does: the first that holds.
_NARROW: tuple[str, ...] = ("resource", "pool", "model", "machine type")
_BROAD = ("account", "team", "service")
_OF_CALLS = ("team", "feature", "customer", "environment", "region", "model", "variant", "pool")
_NOBODY = "unallocated"
_RANKS = 5


@dataclass(frozen=True)
class Explanation:
    """Why an event happened, as far as the data tell; amounts add up to the whole exactly.

    Attributes
    ----------
    event : mapping
        The row of the events frame.
    currency : str, optional
        Of the amounts; None where the metric is no money.
    actual, expected : Decimal, optional
        Of the event's whole slice and span; None without entries to add up.
    slices : polars.DataFrame
        `finops_lab.anomalies.adtributor.SLICES`: every dimension's elements with their parts.
    found : polars.DataFrame
        `FOUND`: explanations, ``rank`` 1 is the one told; a row per ``element``, with its part and
        share of the change. A slice without words is the whole: all of it changed alike.
    path : polars.DataFrame
        `PATH`: how each element of the explanation narrows the event down, step by step; then, where
        not ``narrows``, what nearly all of its change has in common beside.
    bridge : polars.DataFrame
        `finops_lab.anomalies.explain_bridge.BRIDGE` of the explaining slice, or of the whole where
        none explains it; the amounts add up to its excess.
    causes : polars.DataFrame
        `finops_lab.anomalies.coincidences.CAUSES`: candidates that coincide.
    similar : polars.DataFrame
        `finops_lab.anomalies.similar.SIMILAR`: earlier events and what became of them.
    sentence : str
        All of it, to read.
    """

    event: Mapping[str, Any]
    currency: str | None
    actual: Decimal | None
    expected: Decimal | None
    slices: pl.DataFrame
    found: pl.DataFrame
    path: pl.DataFrame
    bridge: pl.DataFrame
    causes: pl.DataFrame
    similar: pl.DataFrame
    sentence: str = field(repr=False)

    @property
    def excess(self) -> Decimal | None:
        """Actual less expected: the money at stake where the metric is money."""
        if self.actual is None or self.expected is None:
            return None
        return exact_sum([self.actual, self.expected.copy_negate()])

    def __repr__(self) -> str:
        return f"Explanation({self.sentence} .slices .found .path .bridge .causes .similar)"


def explain(
    event: Mapping[str, Any] | pl.DataFrame,
    entries: _Frame | None,
    *,
    requests: _Frame | None = None,
    use: _Frame | None = None,
    deploys: _Frame | None = None,
    jobs: _Frame | None = None,
    scale_events: _Frame | None = None,
    evictions: _Frame | None = None,
    prices: _Frame | None = None,
    past: _Frame | None = None,
    metric: str | None = None,
    expected: str | None = None,
    weeks: int = 6,
    categories: Sequence[str] | None = ("Usage",),
    before: timedelta = timedelta(days=2),
    most_conditions: int = 3,
) -> Explanation:
    """Explain an event: which slice, volume or price, what coincides, what was like it.

    Parameters
    ----------
    event : mapping or polars.DataFrame
        One row of `finops_lab.anomalies.event.EVENTS`.
    entries : polars.LazyFrame or polars.DataFrame, optional
        The `ledger` contract, or bill rows with dimensions (which know accounts, resources and
        quantities too), or telemetry whose metric adds up, with the event's days and some weeks before
        them. None for a metric that does not add up, such as a latency: the event's own figures then.
    requests : polars.LazyFrame or polars.DataFrame, optional
        Calls by day: `finops_lab.unit_economics.schemas.REQUEST_DAYS`.
    use : polars.LazyFrame or polars.DataFrame, optional
        Any other counted use, such as GPU-hours: ``day``, ``quantity``, ``unit`` (one unit), and
        dimensions such as ``team`` or ``pool_id``.
    deploys, jobs, scale_events, evictions, prices : polars.LazyFrame or polars.DataFrame, optional
        The contracts `deploys`, `training_jobs`, `scale_events`, `spot_evictions`, `prices`: what may
        coincide.
    past : polars.LazyFrame or polars.DataFrame, optional
        Earlier events, with what became of them in ``status``.
    metric, expected, weeks, categories
        As `finops_lab.anomalies.attribution.leaves`.
    before : datetime.timedelta
        How long before the event a coinciding change may have begun.
    most_conditions : int
        Dimensions that the explaining slice may pin down.

    Returns
    -------
    Explanation

    Raises
    ------
    InputError
        A frame of more or less than one event, a missing column, no history.
    NoDataError
        No entries of the event's slice.
    CurrencyError
        Entries in several currencies.

    Notes
    -----
    See `finops_lab.anomalies.attribution.leaves` for what is expected of a slice,
    `finops_lab.anomalies.explain_search.search` for how the slice is found, and the modules beside
    them for bridge, coincidences and similarity. Nothing here proves a cause.

    Examples
    --------
    >>> from datetime import date
    >>> days = [date(2026, 10, d) for d in (5, 12, 19, 26)]
    >>> ledger = pl.DataFrame({"x_ChargeDate": days * 2, "ServiceName": ["Compute"] * 4 + ["Storage"] * 4,
    ...     "EffectiveCost": [10, 12, 11, 11, 500, 500, 500, 3500], "BillingCurrency": "USD"})
    >>> event = {"metric": "EffectiveCost", "first": days[3], "last": days[3], "dimension": "total"}
    >>> explain(event, ledger).sentence
    'Effective cost was $3,000 above the $511 expected on 26 October 2026: all of it is service Storage.'
    """
    row = _row(event)
    told = [
        kind
        for kind, frame in (
            ("deploy", deploys), ("job", jobs), ("scale event", scale_events),
            ("eviction", evictions), ("price change", prices),
        )
        if frame is not None
    ]  # fmt: skip
    of = None
    if entries is not None:
        of = leaves(row, entries, metric=metric, expected=expected, weeks=weeks, categories=categories)
    ranked = search(of, most_conditions=most_conditions)[:_RANKS] if of else []
    found = _found(of, ranked)
    top, enough = _top(of, ranked, found)
    path = _path(of, ranked[0]) if of and ranked else pl.DataFrame(schema=PATH)
    bridged = pl.DataFrame(schema=BRIDGE)
    if of is not None and entries is not None:
        rows = in_spans(row, entries, categories=categories)
        rows = rows.filter(_conditions(of, ranked[0])) if enough else rows
        bridged = _bridge(row, rows, of, top, requests, use, metric or str(row["metric"]))
    causes = coincidences(
        row, _shares(row, of, top), deploys=deploys, jobs=jobs, scale_events=scale_events,
        evictions=evictions, prices=prices, before=before,
    ) if told else pl.DataFrame(schema=CAUSES)  # fmt: skip
    similar = similar_events(row, past) if past is not None else pl.DataFrame(schema=SIMILAR)
    actual, wanted = (of.actual, of.expected) if of else (None, None)
    unit = row.get("BillingCurrency") if row.get("unit") == row.get("BillingCurrency") else None
    currency = of.currency if of else unit
    first = found.filter(rank=1)
    text = sentence(
        row,
        actual=actual if of else row.get("actual"),
        expected=wanted if of else row.get("expected"),
        currency=currency,
        found=[_pinned(of, ranked[0], member) for member in ranked[0].members] if of and ranked else [],
        held=_held(path),
        share=float(first["share"].sum()) if of else None,
        enough=enough,
        bridge=bridge_words(bridged) if bridged.height else None,
        causes=causes_words(causes, told, before),
        similar=similar,
    )
    table = slices(of) if of else pl.DataFrame(schema=SLICES)
    return Explanation(row, currency, actual, wanted, table, found, path, bridged, causes, similar, text)


def _row(event: Mapping[str, Any] | pl.DataFrame) -> Mapping[str, Any]:
    if not isinstance(event, pl.DataFrame):
        return event
    if event.height != 1:
        raise InputError(f"one event is explained at a time, not {event.height}")
    return event.row(0, named=True)


def _pinned(of: Leaves, one: Found, member: Bools) -> dict[str, str | None]:
    at = int(np.argmax(member))
    return {name: of.frame[name][at] for name in one.dimensions}


def _sums(of: Leaves, member: Bools) -> tuple[Decimal, Decimal, Decimal, float | None]:
    part = of.frame.filter(pl.Series(member)).select("actual", "expected")
    actual, expected = (exact_sum(part[name].to_list()) for name in ("actual", "expected"))
    excess, whole = exact_sum([actual, expected.copy_negate()]), of.excess
    return actual, expected, excess, float(excess / whole) if whole else None


def _found(of: Leaves | None, ranked: Sequence[Found]) -> pl.DataFrame:
    rows = [
        (rank, n, slice_words(_pinned(of, one, member)), *_sums(of, member), one.score)
        for rank, one in enumerate(ranked, 1)
        for n, member in enumerate(one.members, 1)
        if of is not None
    ]
    return pl.DataFrame(rows, schema=FOUND, orient="row")


def _top(of: Leaves | None, ranked: Sequence[Found], found: pl.DataFrame) -> tuple[Bools, bool]:
    """Return the leaves that explain the event, all of them where no slice does."""
    if of is None:
        return np.zeros(0, dtype=np.bool_), False
    everything: Bools = np.ones(of.frame.height, dtype=np.bool_)
    if not ranked or found.filter(rank=1)["share"].sum() < _ENOUGH:
        return everything, False
    return np.logical_or.reduce(ranked[0].members), True


def _path(of: Leaves, one: Found) -> pl.DataFrame:
    rows = []
    for n, member in enumerate(one.members, 1):
        inside: Bools = np.ones(of.frame.height, dtype=np.bool_)
        pinned = _pinned(of, one, member)
        step = 0
        for step, name in enumerate(sorted(pinned, key=list(DIMENSIONS).index), 1):
            inside = inside & of.frame[name].eq_missing(pl.Series([pinned[name]], dtype=pl.String)).to_numpy()
            rows.append((n, step, name, pinned[name], True, *_sums(of, inside)))
        for name in of.dimensions:
            if name not in pinned and (held := _common(of, member, name)) is not None:
                step += 1
                rows.append((n, step, name, held[0], False, *_sums(of, held[1])))
    return pl.DataFrame(rows, schema=PATH, orient="row")


def _common(of: Leaves, member: Bools, name: str) -> tuple[str, Bools] | None:
    """Return the value that nearly all of a slice's change has, where not all entries have it."""
    parts = (
        of.frame.filter(pl.Series(member)).group_by(name).agg((pl.col("actual") - pl.col("expected")).sum())
    )
    sums = {value: float(excess) for value, excess in parts.iter_rows()}
    whole = sum(sums.values())
    value = min(sums, key=lambda one: (-sums[one] / whole if whole else 0.0, one is None, one or ""))
    if value is None or not whole or sums[value] / whole < _MOST_OF_SLICE or of.frame[name].n_unique() == 1:
        return None
    return value, member & of.frame[name].eq_missing(pl.Series([value], dtype=pl.String)).to_numpy()


def _held(path: pl.DataFrame) -> dict[str, str | None]:
    """Return the one thing of a single slice that is worth a word beside what it pins down."""
    if path.is_empty() or path["element"].max() != 1:
        return {}
    pinned = set(path.filter("narrows")["dimension"])
    beside = dict(path.filter(~pl.col("narrows")).select("dimension", "value").iter_rows())
    names = _NARROW if pinned else ()
    if not pinned.isdisjoint(_NARROW):
        names = _BROAD if pinned.isdisjoint(_BROAD) else ()
    return {name: beside[name] for name in [name for name in names if name in beside][:1]}


def _conditions(of: Leaves, one: Found) -> pl.Expr:
    """Return what holds of the entries of an explanation."""
    elements = []
    for member in one.members:
        holds = [pl.lit(True)]
        for name, value in _pinned(of, one, member).items():
            equal = pl.col(f"{MARK}{name}").eq_missing(pl.lit(value, pl.String))
            # Resources may be called by their group.
            holds.append(equal | pl.col(GROUP).eq_missing(pl.lit(value)) if name == "resource" else equal)
        elements.append(pl.all_horizontal(holds))
    return pl.any_horizontal(elements)


def _bridge(
    event: Mapping[str, Any],
    rows: pl.LazyFrame,
    of: Leaves,
    member: Bools,
    requests: _Frame | None,
    use: _Frame | None,
    metric: str,
) -> pl.DataFrame:
    side = Side(*_sums(of, member)[:2], of.spans)
    where = _where(of, member)
    found = None
    if requests is not None:
        found = bridge_by_calls(event, rows, requests, side, where, amount=metric)
    if found is None:
        found = bridge_by_use(rows, side, amount=metric)
    if found is None and use is not None:
        nothing = {"dimension": "total", "value": None, "BillingCurrency": None}
        scope = dict.fromkeys([name for name in event if name.startswith("x_")])
        counted = in_spans({**event, **scope, **nothing}, use, categories=None)
        known = counted.collect_schema().names()
        picked = [pl.col(f"{MARK}{n}").is_in(values) for n, values in where.items() if f"{MARK}{n}" in known]
        counted = counted.filter(*picked) if picked else counted
        found = bridge_by_use(
            counted, side, amount=None, quantity="quantity", unit="unit", basis="counted use"
        )
    if found is None and requests is not None:
        found = bridge_by_calls(event, rows, requests, side, where, amount=metric, strict=False)
    return not_measured(side) if found is None else found


def _where(of: Leaves, member: Bools) -> dict[str, list[str]]:
    """Return what telemetry of a slice says of itself: dimensions of which all of it has few values."""
    part = of.frame.filter(pl.Series(member))
    found = {}
    for name in _OF_CALLS:
        if name not in of.dimensions:
            continue
        values = part[name].unique().sort()
        narrow = values.len() == 1 or values.len() < of.frame[name].n_unique() or name == "model"
        if narrow and not values.null_count() and _NOBODY not in values:
            found[name] = values.to_list()
    return found


def _shares(event: Mapping[str, Any], of: Leaves | None, member: Bools) -> dict[str, dict[str, float]]:
    """Return which values the change of a slice is of, by dimension."""
    if of is None:
        pinned = {name.removeprefix("x_"): event[name] for name in event if name.startswith("x_")}
        if event.get("value") is not None:
            pinned[str(event.get("dimension"))] = event["value"]
        return {name: {str(value): 1.0} for name, value in pinned.items() if value is not None}
    part = of.frame.filter(pl.Series(member))
    shares = {}
    for name in of.dimensions:
        by = pl.col("_resource" if name == "resource" else name)
        sums = part.group_by(by).agg((pl.col("actual") - pl.col("expected")).sum().alias("excess")).sort(by)
        told = {value: float(one) for value, one in sums.iter_rows() if value not in (None, _NOBODY)}
        whole = float(exact_sum(sums["excess"].to_list()))
        if whole and told:
            shares[name] = {value: one / whole for value, one in told.items()}
    return shares
