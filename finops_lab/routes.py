"""A lab's own machines against the APIs it pays: where the two meet, from its bills and telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from finops_lab.calendar import first_of
from finops_lab.errors import InputError, NoDataError
from finops_lab.lab import Lab
from finops_lab.tradeoffs.hosting_break_even import HostingBreakEven
from finops_lab.tradeoffs.hosting_break_even import hosting_break_even as compared
from finops_lab.unit_economics.activity import activity, currency_of
from finops_lab.unit_economics.load import daily_load
from finops_lab.unit_economics.utilization import pool_models
from finops_lab.valuing.frames import Frames

__all__ = ["hosting_break_even"]

_SELF = "self_hosted"


def hosting_break_even(
    lab: Lab,
    first: str | date,
    last: str | date | None = None,
    *,
    hosted: str,
    api: Sequence[str] = (),
    max_utilization: float = 0.8,
    util_kind: str = "gpu_util",
    metric: str = "EffectiveCost",
    level: float = 0.9,
    draws: int = 2000,
    seed: int = 0,
) -> HostingBreakEven:
    """Tell from which volume a lab's own machines take less than the API it pays, and how sure that is.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : str or datetime.date
        First and last month of use, such as ``2026-08``; one month without `last`.
    hosted : str
        The model that its machines serve.
    api : sequence of str
        Models of vendors that it would replace; all that the lab pays vendors for without them.
    max_utilization : float
        The most that the machines may be in use without missing their latency.
    util_kind : str
        Which utilization of the GPUs, see the contract `gpu_samples`.
    metric : str
        The cost column: ``EffectiveCost``, ``BilledCost``, ``ListCost`` or ``ContractedCost``.
    level, draws, seed
        As for `finops_lab.tradeoffs.hosting_break_even`.

    Returns
    -------
    finops_lab.tradeoffs.hosting_break_even.HostingBreakEven
        Of the days that bills and calls both tell of. Whether the hosted model answers as well as the
        vendors' is not judged here: that is what evaluations and `decide` are for.

    Raises
    ------
    NoDataError
        No day with money and calls of a model.
    InputError
        The model is not among those that the lab's machines, or vendors, serve.
    """
    begin = first_of(first)
    frames = Frames(lab, begin, begin if last is None else first_of(last))
    entries = activity(frames.entries, frames.rules).filter(pl.col("x_Activity") == "inference").collect()
    served = frames.requests.filter(pl.col("hosting") == _SELF)["model"].drop_nulls().unique().sort()
    bought = frames.requests.filter(pl.col("hosting") != _SELF)["model"].drop_nulls().unique().sort()
    wanted = list(api) or bought.to_list()
    for names, there, what in (([hosted], served, "its own machines"), (wanted, bought, "an API")):
        for name in names:
            if name not in there:
                known = ", ".join(there) or "none"
                raise InputError(f"no model {name!r} is served by {what}", hint=f"there are: {known}")
    if not wanted:
        raise NoDataError("no calls to an API are known", hint="request logs tell the hosting of each call")
    loads = daily_load(entries, frames.request_days, metric=metric).rename(
        {"period": "day", "money": "amount"}
    )
    busy = _busy(lab, frames, hosted, util_kind)
    mine = loads.filter(pl.col("key") == hosted).join(busy, on="day", how="left")
    both = pl.col("amount").is_not_null() & pl.col("tokens").is_not_null()
    theirs = (
        loads.filter(pl.col("key").is_in(wanted), both)
        .group_by("day")
        .agg(pl.col("amount", "tokens").sum())
        .sort("day")
    )
    return compared(
        mine.select("day", "amount", "tokens", "utilization"),
        theirs,
        max_utilization=max_utilization,
        machines=max(1, round(mine["gpus"].mean() or 1)),  # type: ignore[arg-type]
        level=level,
        draws=draws,
        seed=seed,
        currency=currency_of(entries),
    )


def _busy(lab: Lab, frames: Frames, model: str, kind: str) -> pl.DataFrame:
    """Return by day which share of the GPUs' time that serve the model was in use, and how many there were."""
    pools = pool_models(lab.pools(), frames.requests).filter(pl.col("model") == model)["pool_id"]
    mine = frames.gpu_days.filter(pl.col("pool_id").is_in(pools.implode()), pl.col("util_kind") == kind)
    sampled, busy = (pl.col(name).sum().cast(pl.Float64) for name in ("sampled_s", "busy_s"))
    return (
        mine.group_by("day")
        .agg(pl.when(sampled > 0).then(busy / sampled).alias("utilization"), (sampled / 86400).alias("gpus"))
        .sort("day")
    )
