"""A canary planned: how much traffic for how many days, from what the traffic is really like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finops_lab.errors import InputError, NoDataError, each_name
from finops_lab.tradeoffs.betting import expected_items
from finops_lab.tradeoffs.guardrails import least_calls
from finops_lab.tradeoffs.planner import needed, paired_items
from finops_lab.tradeoffs.representative import DIMENSIONS, mix_needs
from finops_lab.tradeoffs.slicing import slices

__all__ = ["CanaryPlan", "canary_plan"]

_FINISHED = ("ok", "error", "timeout")
_WEEK = 7
_GRID = 0.1  # weight of the right bet among those that nobody planned for


@dataclass(frozen=True)
class CanaryPlan:
    """How long a canary takes at every share of traffic.

    Attributes
    ----------
    needs : polars.DataFrame
        What each check needs: ``check``, ``of`` (``graded items``, ``logged calls`` or ``logged units``),
        ``items`` (Int64: expected until the sequential test decides where all is well), ``fixed_items``
        (Int64: of a test of one look, power 0.8; null where there is none), ``why``.
    shares : polars.DataFrame
        By share of traffic: ``share``, ``calls_per_day`` of the canary, ``logged_per_day`` (rows that the
        log keeps of them), ``days`` (Float64, until all checks are expected to decide), ``advised_days``
        (Int64: whole weeks, so that every hour and weekday is seen as often), ``decides_last`` (the check).
    slices : polars.DataFrame
        ``dimension``, ``slice``, ``traffic_share``: those of at least one in fifty calls, which the
        canary must see.
    sentence : str
        The plan for the first share that takes four weeks at most, or for the largest.
    """

    needs: pl.DataFrame
    shares: pl.DataFrame
    slices: pl.DataFrame
    sentence: str


def canary_plan(
    calls: pl.DataFrame,
    *,
    days: float,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.25, 0.5),
    margin: float = 0.01,
    discordance: float = 0.02,
    loss: float = 0.0,
    graded_share: float = 1.0,
    max_p95_ms: float | None = None,
    p95_slack: float = 0.1,
    max_error_increase: float = 0.01,
    by: str | Sequence[str] = DIMENSIONS,
    unit: str | None = None,
    max_distance: float = 0.1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> CanaryPlan:
    """Plan a canary from the calls that the model gets now.

    Parameters
    ----------
    calls : polars.DataFrame
        `inference_requests` of the model, from `finops_lab.tradeoffs.slicing.sliced`: whole days.
    days : float
        How many days these calls are of.
    shares : sequence of float
        Shares of traffic to plan for.
    margin : float
        Loss of quality that is too much.
    discordance : float
        Share of items that only one of the two variants gets right: what makes a paired test long. Take
        it from an evaluation of both.
    loss : float
        True loss to plan for, below the margin.
    graded_share : float
        Share of the canary's calls that both variants answer and that are graded.
    max_p95_ms, p95_slack, max_error_increase, by, unit, max_distance, alpha
        As in `finops_lab.tradeoffs.canary.canary_check`.
    power : float
        Of the test of one look that is shown beside.

    Returns
    -------
    CanaryPlan
        Days at the real traffic: graded items come from all calls, guardrails only from those that the
        log keeps.

    Raises
    ------
    NoDataError
        When there are no finished calls.
    InputError
        When a share, the margin or what is planned cannot be.

    Examples
    --------
    >>> from datetime import datetime, timedelta
    >>> calls = pl.DataFrame({"ts_start": [datetime(2026, 10, 1) + timedelta(minutes=k) for k in range(1440)],
    ...     "status": "ok", "latency_ms": [float(100 + k % 100) for k in range(1440)], "sample_weight": 10.0,
    ...     "region": ["eu", "us"] * 720})
    >>> plan = canary_plan(calls, days=1, shares=[0.1], by=["region"])
    >>> plan.needs.select("check", "items").rows()
    [('quality', 1476), ('P95 latency', 104), ('error rate', 528), ('mix of region', 64)]
    >>> plan.shares.select("calls_per_day", "decides_last", "advised_days").row(0)
    (1440.0, 'error rate', 7)
    """
    by = each_name(by)
    finished = calls.filter(pl.col("status").is_in(_FINISHED))
    if finished.is_empty() or days <= 0:
        raise NoDataError("there are no finished calls to plan a canary from", hint="choose a longer period")
    if not shares or not all(0 < share < 1 for share in shares) or not 0 < graded_share <= 1:
        raise InputError(
            "shares of traffic lie between 0 and 1, the share that is graded above 0 and up to 1"
        )
    weight = pl.col("sample_weight") if "sample_weight" in calls.columns else pl.lit(1.0)
    counts = pl.col("n_requests") if "n_requests" in calls.columns else pl.lit(1)
    per_day = float(finished.select((weight * counts).sum()).item()) / days
    logged: float = finished.height / days
    rows = [_quality(margin, discordance, loss, alpha, power)]
    rows.append(_latency(finished, max_p95_ms, p95_slack, alpha, power))
    rows.append(_errors(finished, max_error_increase, max(shares), alpha, power))
    known = [name for name in by if name in calls.columns and calls[name].n_unique() > 1]
    counted = {name: slices(finished, finished, name, unit=unit) for name in known}
    for name, table in counted.items():
        items = mix_needs(table["traffic_share"], max_distance)
        why = f"{table.height:,} slices; chance alone may look like half of {max_distance:g}"
        rows.append((f"mix of {name}", "logged calls" if unit is None else "logged units", items, None, why))
    schema = {
        "check": pl.String,
        "of": pl.String,
        "items": pl.Int64,
        "fixed_items": pl.Int64,
        "why": pl.String,
    }
    needs = pl.DataFrame(rows, schema=schema, orient="row")
    units = max((int(table["traffic"].sum()) for table in counted.values()), default=0)
    rates = {"graded items": per_day * graded_share, "logged calls": logged, "logged units": units / days}
    plans = pl.DataFrame([_planned(needs, share, rates, per_day, logged) for share in sorted(shares)])
    return CanaryPlan(needs, plans, _must_see(counted), _sentence(plans))


_Need = tuple[str, str, int | None, int | None, str]


def _quality(margin: float, discordance: float, loss: float, alpha: float, power: float) -> _Need:
    fixed = paired_items(
        margin=margin, discordance=discordance, difference=-loss, level=1 - alpha, power=power
    )
    why = f"loss below {margin:g}, {discordance:.2%} of items differ, true loss {loss:g}"
    return (
        "quality",
        "graded items",
        expected_items(margin - loss, discordance - loss**2, alpha=alpha),
        fixed,
        why,
    )


def _latency(calls: pl.DataFrame, limit: float | None, slack: float, alpha: float, power: float) -> _Need:
    times = calls.filter(pl.col("status") == "ok")["latency_ms"].cast(pl.Float64).drop_nulls()
    tail: float | None = times.quantile(0.95, "equiprobable")
    if limit is None:
        limit = None if tail is None else tail * (1 + slack)
    if tail is None or limit is None:
        return "P95 latency", "logged calls", None, None, "no call has a latency"
    over = int((times > limit).sum()) / times.len()
    why = f"P95 {tail:,.0f} ms now, limit {limit:,.0f} ms, {over:.1%} of calls are above it"
    if over >= 0.05:
        return "P95 latency", "logged calls", None, None, f"{why}: it does not hold now, and cannot be proven"
    spread = over * (1 - over)
    items = expected_items(0.05 - over, spread, alpha=alpha, weight=_GRID, reach=0.95)
    fixed = needed(0.05 - over, math.sqrt(spread), level=1 - alpha, power=power)
    return "P95 latency", "logged calls", items, max(fixed, least_calls(0.95)), why


def _errors(calls: pl.DataFrame, increase: float, share: float, alpha: float, power: float) -> _Need:
    rate = int((calls["status"] != "ok").sum()) / calls.height
    # A block has a call of the canary and the baseline's of the same time.
    spread = rate * (1 - rate) * (1 + share / (1 - share))
    if not 0 < increase < 1:
        raise InputError(f"the increase of the error rate must be between 0 and 1, not {increase}")
    items = expected_items(increase, spread, alpha=alpha, weight=_GRID, reach=1 - increase)
    fixed = needed(increase, math.sqrt(spread), level=1 - alpha, power=power)
    return "error rate", "logged calls", items, fixed, f"{rate:.2%} fail now, at most {increase:.2%} more"


def _planned(
    needs: pl.DataFrame, share: float, rates: dict[str, float], per_day: float, logged: float
) -> dict[str, object]:
    waits = [
        (math.inf if items is None else items / (rates[of] * share), name)
        for name, of, items in needs.select("check", "of", "items").iter_rows()
    ]
    longest, last = max(waits)
    never = math.isinf(longest)
    return {
        "share": share,
        "calls_per_day": per_day * share,
        "logged_per_day": logged * share,
        "days": None if never else longest,
        "advised_days": None if never else max(math.ceil(longest / _WEEK), 1) * _WEEK,
        "decides_last": last,
    }


def _must_see(counted: dict[str, pl.DataFrame]) -> pl.DataFrame:
    schema = {"dimension": pl.String, "slice": pl.String, "traffic_share": pl.Float64}
    parts = [
        table.filter(pl.col("traffic_share") >= 0.02).select(
            pl.lit(name).alias("dimension"), "slice", "traffic_share"
        )
        for name, table in counted.items()
    ]
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def _sentence(plans: pl.DataFrame) -> str:
    able = plans.drop_nulls("days")
    if able.is_empty():
        return f"No share of traffic decides it: {plans['decides_last'][0]} cannot be proven."
    soon = able.filter(pl.col("advised_days") <= 4 * _WEEK)
    row = (soon.head(1) if soon.height else able.tail(1)).row(0, named=True)
    return (
        f"Give the canary {row['share']:.0%} of traffic for {row['advised_days']:,} days: about "
        f"{row['calls_per_day']:,.0f} calls a day, of which the log keeps {row['logged_per_day']:,.0f}; "
        f"{row['decides_last']} is expected to be decided last, after {row['days']:,.1f} days."
    )
