"""A closer look at some days of a lab: exact latencies, GPUs by the hour, burn rates at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from finops_lab import measuring
from finops_lab.calendar import parse_day
from finops_lab.errors import InputError, each_name
from finops_lab.lab import Lab
from finops_lab.service_levels import burn
from finops_lab.service_levels.events import BY_CALL
from finops_lab.unit_economics import gpus, latency

__all__ = ["burn_rates", "exact_latency", "gpu_hours"]


def exact_latency(
    lab: Lab, first: str | date, last: str | date | None = None, *, by: str | Sequence[str] = ("model",)
) -> pl.DataFrame:
    """Tell how long callers waited in some days, exactly: see `unit_economics.latency.exact_latency`.

    Every call of the days is read and sorted; `kpis` reads P95 of any month off buckets within 1 %.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : str or datetime.date
        First and last day (UTC), such as ``2026-10-01``; one day without `last`.
    by : str or sequence of str
        Dimensions beside the whole, such as ``model`` or ``feature``.

    Returns
    -------
    polars.DataFrame
        `finops_lab.unit_economics.schemas.FIGURES` of M4 in milliseconds: ``p95``, ``p50``, ``p99``
        and ``ttft_p95`` of calls that succeeded, batch calls left out, by month. Empty without calls.

    Raises
    ------
    InputError
        When a day is none, or the last lies before the first.
    """
    by = each_name(by)
    return latency.exact_latency(measuring.requests_of(lab).filter(_within(first, last)), by=by)


def gpu_hours(
    lab: Lab,
    first: str | date,
    last: str | date | None = None,
    *,
    by: str | Sequence[str] = ("cluster", "pool_id"),
) -> pl.DataFrame:
    """Return the utilization of each GPU in each hour of some days: see `unit_economics.gpus.hours`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : str or datetime.date
        First and last day (UTC), such as ``2026-10-01``; one day without `last`.
    by : str or sequence of str
        What else tells rows apart: ``cluster``, ``pool_id``, ``team``, ``gpu_model``.

    Returns
    -------
    polars.DataFrame
        ``hour``, the columns of `by`, ``gpu_uuid``, ``util_kind``, ``rows``, ``sampled_s`` and
        ``busy_s`` (Decimal), ``util`` (Float64, 0 to 1); sorted. Empty without samples.

    Raises
    ------
    InputError
        When a day is none, the last lies before the first, or `by` names another column.
    """
    by = each_name(by)
    return gpus.hours(lab.table("gpu_samples").filter(_within(first, last)), by)


def burn_rates(lab: Lab, at: datetime, *, windows: Sequence[burn.BurnWindow] = burn.WORKBOOK) -> pl.DataFrame:
    """Tell how fast the lab's error budgets burned at a moment: see `service_levels.burn.burn_rates`.

    Parameters
    ----------
    lab : Lab
        An opened lab, with ``[[slos]]`` in `finops.toml`.
    at : datetime.datetime
        With a time zone; slots of five minutes that are over then count.
    windows : sequence of finops_lab.service_levels.burn.BurnWindow
        Pairs of windows and rates; the SRE workbook's by default.

    Returns
    -------
    polars.DataFrame
        `finops_lab.service_levels.schemas.BURNS`, one row per objective about calls and pair of windows.

    Raises
    ------
    InputError
        When `at` has no time zone.
    """
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InputError(f"the moment {at} has no time zone", hint="write datetime(..., tzinfo=UTC)")
    slos = lab.slos().filter(pl.col("objective").is_in(BY_CALL))
    longest = timedelta(seconds=max((window.long_s for window in windows), default=0))
    # Whole days, as events are kept by the day.
    seen = measuring.call_events(lab).filter(pl.col("slot") >= at - longest - timedelta(days=1))
    return burn.burn_rates(seen, slos, at, windows=windows)


def _within(first: str | date, last: str | date | None) -> pl.Expr:
    begin = parse_day(first, "the first day")
    end = begin if last is None else parse_day(last, "the last day")
    if end < begin:
        raise InputError(f"the last day, {end}, lies before the first, {begin}")
    return pl.col("day").is_between(begin, end)
