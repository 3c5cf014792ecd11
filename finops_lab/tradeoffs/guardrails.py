"""Guardrails of a canary: tail latency, error rate and the burning of error budgets."""

from __future__ import annotations

import math

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.checks import as_check
from finops_lab.tradeoffs.sequential import sequential
from finops_lab.tradeoffs.streams import blocked

__all__ = ["burn_guard", "error_guard", "latency_guard", "least_calls"]

_LOOKS = 8  # of the range that is shown; decisions look after every value


def least_calls(share: float, confidence: float = 0.95) -> int:
    """Return how many calls it takes at least to say anything of a tail, whatever its distribution.

    Parameters
    ----------
    share : float
        The quantile, such as 0.95.
    confidence : float
        Chance of a right statement.

    Returns
    -------
    int
        The smallest n with share^n at most 1 - confidence: fewer calls may all lie below the quantile
        by chance. 59 for a P95, 299 for a P99 (459 at a confidence of 0.99).

    Examples
    --------
    >>> least_calls(0.95), least_calls(0.99), least_calls(0.99, 0.99)
    (59, 299, 459)
    """
    return math.ceil(math.log(1 - confidence) / math.log(share))


def latency_guard(
    latencies: pl.Series,
    limit_ms: float,
    *,
    share: float = 0.95,
    alpha: float | tuple[float, float] = 0.05,
    of: str = "",
) -> pl.DataFrame:
    """Check that a share of calls is at most so slow; the P95 by default.

    The P95 is at most a limit where at most 5 % of calls are above it: a yes or no for each call, as_check
    at every look, with nothing assumed about how latencies are distributed.

    Parameters
    ----------
    latencies : polars.Series
        Of the canary's successful calls, milliseconds, in order of time; nulls are left out.
    limit_ms : float
        Limit of the quantile.
    share : float
        The quantile.
    alpha : float or tuple of float
        Chance of wrongly saying ``breached`` and ``ok``.
    of : str
        Where the limit comes from, to be told.

    Returns
    -------
    polars.DataFrame
        `finops_lab.tradeoffs.checks.CHECKS`, one row: shares of calls above the limit. Below
        `least_calls` nothing is ok.

    Raises
    ------
    InputError
        When the limit is no positive number, or the share not between 0 and 1.

    Examples
    --------
    >>> latency_guard(pl.Series([100.0] * 300), 150).select("status", "value", "n").row(0)
    ('ok', 0.0, 300)
    """
    if not (limit_ms > 0 and math.isfinite(limit_ms)) or not 0 < share < 1:
        raise InputError(
            f"a limit above 0 ms and a share between 0 and 1 are needed, not {limit_ms} and {share}"
        )
    known = latencies.cast(pl.Float64).fill_nan(None).drop_nulls()
    found = sequential(
        (known > limit_ms).cast(pl.Float64), reference=1 - share, bounds=(0.0, 1.0), alpha=alpha, looks=_LOOKS
    )
    tail = known.quantile(share, "equiprobable")
    name, floor = f"P{100 * share:g} latency", least_calls(share)
    reason = "no call has a latency" if tail is None else f"{name.split()[0]} {tail:,.0f} ms"
    reason += f", limit {limit_ms:,.0f} ms{f' ({of})' if of else ''}"
    row = as_check(
        found, good="below", name=name, kind="latency", unit=f"share over {limit_ms:,.0f} ms", reason=reason
    )
    if found.n < floor:
        return row.with_columns(
            status=pl.when(pl.col("status") == "breached").then("status").otherwise(pl.lit("unknown")),
            n_needed=pl.max_horizontal(pl.col("n_needed").fill_null(0), pl.lit(floor)),
        )
    return row


def error_guard(
    calls: pl.DataFrame | pl.LazyFrame,
    *,
    max_increase: float = 0.01,
    alpha: float | tuple[float, float] = 0.05,
) -> pl.DataFrame:
    """Check that the canary fails at most so much more often than the baseline at the same time.

    Parameters
    ----------
    calls : polars.DataFrame or polars.LazyFrame
        Finished calls of both arms: ``ts``, ``arm`` (``baseline`` or ``canary``), ``value`` (1 where the
        call failed, else 0).
    max_increase : float
        Largest increase of the share of failed calls: 0.01 is one percentage point.
    alpha : float or tuple of float
        Chance of wrongly saying ``breached`` and ``ok``.

    Returns
    -------
    polars.DataFrame
        `finops_lab.tradeoffs.checks.CHECKS`, one row: the increase, of blocks as in
        `finops_lab.tradeoffs.streams.blocked`.

    Raises
    ------
    InputError
        When the increase is not between 0 and 1.

    Examples
    --------
    >>> calls = pl.DataFrame({"ts": range(400), "arm": ["baseline", "canary"] * 200,
    ...     "value": [0, 1, 0, 0] * 100})
    >>> error_guard(calls).select("status", pl.col("value").round(1), "limit").row(0)
    ('breached', 0.5, 0.01)
    """
    if not 0 < max_increase < 1:
        raise InputError(f"the increase of the error rate must be between 0 and 1, not {max_increase}")
    frame = calls.lazy().collect()
    blocks = blocked(frame)
    found = sequential(blocks["difference"], reference=max_increase, alpha=alpha, looks=_LOOKS)
    shares = {
        arm: frame.filter(arm=arm).select(pl.col("value").cast(pl.Float64).mean(), pl.len()).row(0)
        for arm in ("canary", "baseline")
    }
    said = [
        f"{arm} {'no calls' if share is None else f'{share:.2%} of {count:,} calls'}"
        for arm, (share, count) in shares.items()
    ]
    return as_check(
        found,
        good="below",
        name="error rate",
        kind="errors",
        unit="increase of the share of failed calls",
        reason=f"{', '.join(said)}; compared in {found.n:,} blocks of the same time",
    )


def burn_guard(
    burns: pl.DataFrame,
    failed: pl.Series,
    target: float,
    *,
    slo: str,
    max_burn: float = 1.0,
    alpha: float | tuple[float, float] = 0.05,
) -> pl.DataFrame:
    """Check that the canary's own calls do not burn the error budget of a promise.

    Breached where a pair of windows that calls for a page burned (more than 14.4 times as fast as the
    promise allows over an hour, 6 times over six hours: Google, "The Site Reliability Workbook", 2018,
    table 5-8), or where it is proven that all of the canary's calls together burn faster than
    `max_burn`.

    Parameters
    ----------
    burns : polars.DataFrame
        `finops_lab.service_levels.schemas.BURNS` of the canary's calls and this promise, one row per
        window and moment; may be empty.
    failed : polars.Series
        1 for bad events, 0 for good ones, in order of time.
    target : float
        The promise's share of good events.
    slo : str
        Its name.
    max_burn : float
        1 spends the budget exactly by the end of its period.
    alpha : float or tuple of float
        Chance of wrongly saying ``breached`` and ``ok``.

    Returns
    -------
    polars.DataFrame
        `finops_lab.tradeoffs.checks.CHECKS`, one row: burn rates.

    Raises
    ------
    InputError
        When the target is not between 0 and 1, or leaves so much room that the rate cannot be exceeded.

    Examples
    --------
    >>> none = pl.DataFrame(schema={"severity": pl.String, "status": pl.String})
    >>> found = burn_guard(none, pl.Series([0.0] * 900), 0.99, slo="chat: availability")
    >>> found.select("check", "status", "value", "limit").row(0)
    ('burn rate of chat: availability', 'ok', 0.0, 1.0)
    """
    room = 1 - target
    if not 0 < target < 1 or not 0 < room * max_burn < 1:
        raise InputError(f"a target of {target:g} cannot be burned {max_burn:g} times as fast as allowed")
    found = sequential(
        failed.drop_nulls().cast(pl.Float64),
        reference=room * max_burn,
        bounds=(0.0, 1.0),
        alpha=alpha,
        looks=_LOOKS,
    )
    paging = burns.filter(pl.col("severity") == "page")
    burning = paging.filter(pl.col("status") == "burning")
    few = paging.filter(pl.col("status").is_in(["too few rows", "no events"])).height
    reason = "no windows were looked at" if paging.is_empty() else f"{paging.height:,} windows, none burned"
    if few:
        reason += f", {few:,} of them with too few rows to tell"
    row = as_check(
        found,
        good="below",
        name=f"burn rate of {slo}",
        kind="burn",
        scale=1 / room,
        unit="times the budget",
        reason=reason,
    )
    if burning.is_empty():
        return row
    worst = burning.sort("long_rate", "at", descending=[True, False]).row(0, named=True)
    said = f"{worst['window']} burned {worst['long_rate']:.1f} times as fast as allowed at {worst['at']:%Y-%m-%d %H:%M}"
    return row.with_columns(status=pl.lit("breached"), n_needed=pl.lit(None, pl.Int64), reason=pl.lit(said))
