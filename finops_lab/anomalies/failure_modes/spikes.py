"""F1, billing spikes: the events of daily spend that point up."""

from __future__ import annotations

import polars as pl

__all__ = ["billing_spikes"]


def billing_spikes(events: pl.DataFrame) -> pl.DataFrame:
    """Name the events of daily spend that are billing spikes.

    Parameters
    ----------
    events : polars.DataFrame
        `finops_lab.anomalies.event.EVENTS`.

    Returns
    -------
    polars.DataFrame
        The same rows; ``failure_mode`` is F1 where spend went up and no other mode is named.

    Examples
    --------
    >>> rows = pl.DataFrame({"kind": ["spend", "spend", "telemetry"], "direction": ["up", "down", "up"],
    ...     "failure_mode": [None, None, None]}, schema_overrides={"failure_mode": pl.String})
    >>> billing_spikes(rows)["failure_mode"].to_list()
    ['F1', None, None]
    """
    spike = (pl.col("kind") == "spend") & (pl.col("direction") == "up") & pl.col("failure_mode").is_null()
    return events.with_columns(
        pl.when(spike).then(pl.lit("F1")).otherwise("failure_mode").alias("failure_mode")
    )
