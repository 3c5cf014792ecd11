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
from finops_lab.anomalies.attribution import MARK, Leaves, in_spans, leaves
from finops_lab.anomalies.coincidences import CAUSES, coincidences
from finops_lab.anomalies.explain_bridge import (
    BRIDGE,
    Side,
    bridge_by_use,
    not_measured,
)
from finops_lab.anomalies.explain_calls import bridge_by_calls
from finops_lab.anomalies.explain_frames import (
    PATH,
    conditions,
    found_frame,
    path_frame,
    pinned,
    shares_of,
    sums_of,
    where_of,
)
from finops_lab.anomalies.explain_search import Found, search
from finops_lab.anomalies.panel import Bools
from finops_lab.anomalies.sentence import bridge_words, causes_words, sentence
from finops_lab.anomalies.similar import SIMILAR, similar_events
from finops_lab.errors import InputError
from finops_lab.money import exact_sum

__all__ = ["Explanation", "explain"]

_Frame = pl.LazyFrame | pl.DataFrame
_ENOUGH = 0.67  # of the change: Bhagwan et al.
# What is worth a word beside a slice that says no resource, and beside one that does: the first that holds.
_NARROW: tuple[str, ...] = ("resource", "pool", "model", "machine type")
_BROAD = ("account", "team", "service")
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
        `finops_lab.anomalies.explain_frames.FOUND`: explanations, ``rank`` 1 is the one told; a row
        per ``element``, with its part and share of the change. A slice without words is the whole:
        all of it changed alike.
    path : polars.DataFrame
        `finops_lab.anomalies.explain_frames.PATH`: how each element of the explanation narrows the
        event down, step by step; then, where not ``narrows``, what nearly all of its change has in common beside.
    bridge : polars.DataFrame
        `finops_lab.anomalies.explain_bridge.BRIDGE` of the explaining slice, or of the whole where
        none explains it; the amounts add up to its excess.
    causes : polars.DataFrame
        `finops_lab.anomalies.coincidences.CAUSES`: candidates that coincide.
    similar : polars.DataFrame
        `finops_lab.anomalies.similar.SIMILAR`: earlier events and what became of them.
    sentence : str
        All of it, to read. Of spend it tells the detector's own actual and expected, which know fees and
        growth; the parts are shares of the change against the weeks before.
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
    if row.get("direction") == "down":
        jobs = None  # one that starts saves nothing
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
    found = found_frame(of, ranked)
    top, enough = _top(of, ranked, found)
    path = path_frame(of, ranked[0]) if of and ranked else pl.DataFrame(schema=PATH)
    bridged = pl.DataFrame(schema=BRIDGE)
    if of is not None and entries is not None:
        rows = in_spans(row, entries, categories=categories)
        rows = rows.filter(conditions(of, ranked[0])) if enough else rows
        bridged = _bridge(row, rows, of, top, requests, use, metric or str(row["metric"]))
    causes = coincidences(
        row, shares_of(row, of, top), deploys=deploys, jobs=jobs, scale_events=scale_events,
        evictions=evictions, prices=prices, before=before,
    ) if told else pl.DataFrame(schema=CAUSES)  # fmt: skip
    similar = similar_events(row, past) if past is not None else pl.DataFrame(schema=SIMILAR)
    actual, wanted = (of.actual, of.expected) if of else (None, None)
    unit = row.get("BillingCurrency") if row.get("unit") == row.get("BillingCurrency") else None
    currency = of.currency if of else unit
    first = found.filter(rank=1)
    # The detector knows fees and growth that weeks before do not: its figures are told, and our parts of them.
    own = of is None or (row.get("kind") == "spend" and row.get("expected") is not None)
    agree = of is None or not own or (of.actual >= of.expected) == (row["actual"] >= row["expected"])
    text = sentence(
        row,
        actual=row.get("actual") if own else actual,
        expected=row.get("expected") if own else wanted,
        currency=currency,
        found=[pinned(of, ranked[0], member) for member in ranked[0].members]
        if of and ranked and agree
        else [],
        held=_held(path),
        share=float(first["share"].sum()) if of else None,
        enough=enough,
        bridge=bridge_words(bridged) if bridged.height and agree else None,
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


def _top(of: Leaves | None, ranked: Sequence[Found], found: pl.DataFrame) -> tuple[Bools, bool]:
    """Return the leaves that explain the event, all of them where no slice does."""
    if of is None:
        return np.zeros(0, dtype=np.bool_), False
    everything: Bools = np.ones(of.frame.height, dtype=np.bool_)
    if not ranked or found.filter(rank=1)["share"].sum() < _ENOUGH:
        return everything, False
    return np.logical_or.reduce(ranked[0].members), True


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


def _bridge(
    event: Mapping[str, Any],
    rows: pl.LazyFrame,
    of: Leaves,
    member: Bools,
    requests: _Frame | None,
    use: _Frame | None,
    metric: str,
) -> pl.DataFrame:
    side = Side(*sums_of(of, member)[:2], of.spans)
    where = where_of(of, member)
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
