"""What serving takes against the load that is offered: capacity that stands still is paid for too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided, exact_sum

__all__ = ["CAPACITY", "against_load", "load_total", "measured_capacity"]

# A load just at what so many replicas serve needs no more of them: 0.3 / 0.1 is above 3 in binary.
_SLACK = 1e-9
_FOUND = (
    "replicas",
    "fleet_per_s",
    "served_per_s",
    "dropped_per_s",
    "utilization",
    "per_1m_units",
    "penalty",
    "amount_per_hour",
)
CAPACITY: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "variant": pl.String,
    "workload": pl.String,
    "capacity_per_s": pl.Float64,
    "offered_per_s": pl.Float64,
    "p95_ms": pl.Float64,
    "fails_at_per_s": pl.Float64,
    "note": pl.String,
}


def measured_capacity(
    sweeps: pl.DataFrame, *, max_p95_ms: float | None = None, least_served_share: float = 0.98
) -> pl.DataFrame:
    """Read the load that one replica really carries from a sweep of loads.

    Parameters
    ----------
    sweeps : polars.DataFrame
        ``model``, ``variant``, ``workload``, ``offered_per_s``, ``served_per_s``, ``p95_ms``, as of
        `finops_lab.tradeoffs.measurement.Measurement`: open-loop, so that late answers do not slow the
        offer.
    max_p95_ms : float, optional
        The latency that must hold (milliseconds).
    least_served_share : float
        Below this share of the offer served, it falls behind.

    Returns
    -------
    polars.DataFrame
        `CAPACITY`, one row per model, variant and workload, sorted: ``capacity_per_s``, what was served
        at the highest load up to which every load held; ``offered_per_s`` and ``p95_ms`` there;
        ``fails_at_per_s``, the first load that did not hold: the true limit lies between. ``note`` says
        what failed, or that nothing did, so that the capacity is at least this.

    Raises
    ------
    InputError
        A missing column, or a limit that is none.

    Examples
    --------
    >>> sweeps = pl.DataFrame({"model": ["m"] * 3, "variant": ["int8"] * 3, "workload": ["short"] * 3,
    ...     "offered_per_s": [10.0, 20.0, 40.0], "served_per_s": [10.0, 19.9, 27.0], "p95_ms": [9.0, 30.0, 900.0]})
    >>> measured_capacity(sweeps, max_p95_ms=50).select("capacity_per_s", "fails_at_per_s", "note").row(0)
    (19.9, 40.0, 'falls behind, P95 over 50 ms')
    """
    if not 0 < least_served_share <= 1:
        raise InputError(f"least_served_share is above 0 and at most 1, not {least_served_share}")
    if max_p95_ms is not None and not (math.isfinite(max_p95_ms) and max_p95_ms >= 0):
        raise InputError(f"max_p95_ms must be a finite number from 0 up, not {max_p95_ms}")
    keys = ["model", "variant", "workload"]
    for name in (*keys, "offered_per_s", "served_per_s", "p95_ms"):
        if name not in sweeps.columns:
            raise InputError("the sweeps have no such column", column=name)
    late = pl.lit(False) if max_p95_ms is None else ~(pl.col("p95_ms") <= max_p95_ms).fill_null(False)
    behind = ~(pl.col("served_per_s") >= least_served_share * pl.col("offered_per_s")).fill_null(False)
    said = "P95 over the limit" if max_p95_ms is None else f"P95 over {max_p95_ms:g} ms"
    judged = (
        sweeps.sort(*keys, "offered_per_s", nulls_last=True)
        .with_columns(late.alias("late"), behind.alias("behind"))
        .with_columns((pl.col("late") | pl.col("behind")).cum_max().over(keys).alias("failed"))
    )
    holds, fails = ~pl.col("failed"), pl.col("failed")
    why = pl.concat_str(
        pl.when(pl.col("behind")).then(pl.lit("falls behind")),
        pl.when(pl.col("late")).then(pl.lit(said)),
        separator=", ",
        ignore_nulls=True,
    )
    return (
        judged.group_by(keys, maintain_order=True)
        .agg(
            pl.col("served_per_s").filter(holds).last().alias("capacity_per_s"),
            pl.col("offered_per_s", "p95_ms").filter(holds).last(),
            pl.col("offered_per_s").filter(fails).first().alias("fails_at_per_s"),
            why.filter(fails)
            .first()
            .fill_null("nothing failed: the capacity is at least this")
            .alias("note"),
        )
        .select(pl.col(name).cast(kind) for name, kind in CAPACITY.items())
    )


def against_load(
    load: pl.DataFrame | Sequence[float],
    *,
    rate_per_hour: Decimal,
    capacity_per_s: float,
    replicas: int | None = None,
    least_replicas: int = 1,
    most_replicas: int | None = None,
    target_utilization: float = 1.0,
) -> pl.DataFrame:
    """Tell what a unit served takes at each load, on a fixed fleet or one that follows the load.

    Parameters
    ----------
    load : polars.DataFrame or sequence of float
        ``offered_per_s`` (units, such as tokens, per second); other columns are kept. A sequence of
        loads draws a curve.
    rate_per_hour : Decimal
        What one replica takes in an hour.
    capacity_per_s : float
        Units that one replica serves in a second, such as of `measured_capacity`.
    replicas : int, optional
        A fixed fleet. Without it replicas follow the load in whole steps, between the two limits, so
        that none is in use above `target_utilization`.
    least_replicas, most_replicas : int
        Limits of scaling; no upper one without `most_replicas`.
    target_utilization : float
        Above 0, at most 1.

    Returns
    -------
    polars.DataFrame
        The load with ``replicas`` (Int64), ``fleet_per_s`` (what they can serve), ``served_per_s``,
        ``dropped_per_s``, ``utilization``, ``per_1m_units`` (amount per million served: rate /
        (utilization x capacity); null where nothing is), ``penalty`` (that over what a replica in full
        use takes; 1 is none) (Float64), ``amount_per_hour`` (Decimal).

    Raises
    ------
    InputError
        A load, rate, capacity, number of replicas or utilization that is none.

    Notes
    -----
    Scaling is taken as instant: starting late costs latency, which no amount here shows.

    Examples
    --------
    >>> found = against_load([5.0, 10.0, 12.5], rate_per_hour=Decimal("3.6"), capacity_per_s=10.0)
    >>> found.select("replicas", "utilization", "per_1m_units", "penalty").rows()
    [(1, 0.5, 200.0, 2.0), (1, 1.0, 100.0, 1.0), (2, 0.625, 160.0, 1.6)]
    """
    frame = load if isinstance(load, pl.DataFrame) else pl.DataFrame({"offered_per_s": load})
    if "offered_per_s" not in frame.columns:
        raise InputError("the load has no such column", column="offered_per_s")
    offered = frame["offered_per_s"].cast(pl.Float64)
    odd = (~(offered.is_finite() & (offered >= 0))).fill_null(True).arg_true()
    if odd.len():
        raise InputError("the load is no number from 0 up", row=int(odd[0]) + 1, column="offered_per_s")
    if not isinstance(rate_per_hour, Decimal) or not rate_per_hour.is_finite() or rate_per_hour < 0:
        raise InputError(f"rate_per_hour is a Decimal from 0 up, not {rate_per_hour!r}")
    if not (math.isfinite(capacity_per_s) and capacity_per_s > 0):
        raise InputError(f"capacity_per_s is a number above 0, not {capacity_per_s}")
    if not 0 < target_utilization <= 1:
        raise InputError(f"target_utilization is above 0 and at most 1, not {target_utilization}")
    low, high = (least_replicas, most_replicas) if replicas is None else (replicas, replicas)
    if low < 0 or (high is not None and high < low) or replicas == 0:
        raise InputError(f"between {low} and {high} replicas is no fleet")
    wanted = (offered / (capacity_per_s * target_utilization) - _SLACK).ceil().cast(pl.Int64)
    fleet = wanted.clip(low, high).alias("replicas")
    amounts = [rate_per_hour * count for count in fleet]
    capacity = pl.col("fleet_per_s")
    full = float(rate_per_hour) * 1e6 / (3600 * capacity_per_s)
    return (
        frame.with_columns(fleet, pl.Series("amount_per_hour", amounts, MONEY))
        .with_columns((pl.col("replicas") * capacity_per_s).alias("fleet_per_s"))
        .with_columns(
            pl.min_horizontal(pl.col("offered_per_s").cast(pl.Float64), capacity).alias("served_per_s")
        )
        .with_columns(
            (pl.col("offered_per_s") - pl.col("served_per_s")).alias("dropped_per_s"),
            pl.when(capacity > 0).then(pl.col("served_per_s") / capacity).alias("utilization"),
        )
        .with_columns(pl.when(pl.col("utilization") > 0).then(1 / pl.col("utilization")).alias("penalty"))
        .with_columns((full * pl.col("penalty")).alias("per_1m_units"))
        .select(
            *[name for name in frame.columns if name not in _FOUND],
            *_FOUND,
        )
    )


def load_total(frame: pl.DataFrame, *, hours: str | float = 1.0) -> dict[str, Decimal | float | None]:
    """Add up a fleet over the hours of a load.

    Parameters
    ----------
    frame : polars.DataFrame
        From `against_load`.
    hours : str or float
        How long each row lasts: a column, or hours of every row.

    Returns
    -------
    dict
        ``amount`` and ``idle_amount`` (Decimal; the share of the capacity that stood still, to 18 decimals),
        ``served`` and ``dropped`` (units), ``utilization`` (of the capacity paid for), ``per_1m_units``,
        ``penalty``; None where nothing was served, or paid.

    Raises
    ------
    InputError
        Hours that are none.

    Examples
    --------
    >>> found = load_total(against_load([0.0, 10.0], rate_per_hour=Decimal(2), capacity_per_s=10.0))
    >>> str(found["amount"].normalize()), found["utilization"], found["penalty"]
    ('4', 0.5, 2.0)
    """
    span = (
        frame[hours].cast(pl.Float64) if isinstance(hours, str) else pl.Series([float(hours)] * frame.height)
    )
    odd = (~(span.is_finite() & (span >= 0))).fill_null(True)
    if odd.any():
        raise InputError("the hours are no number from 0 up", row=int(odd.arg_true()[0]) + 1)
    amount = exact_sum(
        rate * Decimal(long) for rate, long in zip(frame["amount_per_hour"], span.to_list(), strict=True)
    )
    amount = divided(amount, 1) or Decimal(0)
    seconds = span * 3600
    served = math.fsum(frame["served_per_s"] * seconds)
    could = math.fsum(frame["fleet_per_s"] * seconds)
    used = served / could if could else None
    return {
        "amount": amount,
        "idle_amount": amount if not used else divided(amount * (1 - Decimal(used)), 1),
        "served": served,
        "dropped": math.fsum(frame["dropped_per_s"] * seconds),
        "utilization": used,
        "per_1m_units": float(amount) / served * 1e6 if served else None,
        "penalty": 1 / used if used else None,
    }
