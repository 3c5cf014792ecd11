"""What to do about an alert: one line by objective, severity and what it coincides with."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from finops_lab.service_levels.schemas import PROMISE

__all__ = ["ACTIONS", "actions"]

_BACK = {
    "deploy": "Roll back the coinciding deploy",
    "config": "Take back the coinciding change of configuration",
    "retrain": "Go back to the model version before the coinciding retrain",
    "scale": "Look at the capacity of the pool, which was scaled shortly before; add what is missing",
}
_PAGE = {
    "availability": "Freeze releases; send traffic to another pool or variant, then look at errors by type",
    "error_rate": "Freeze releases; send traffic to another pool or variant, then look at errors by type",
    "latency": "Add capacity to the pool, or send traffic to a faster variant",
    "accuracy": "Go back to the last model version that was good enough, then look at the data",
    "cost_per_inference": "Switch to the cheaper variant or cap the feature's traffic, then look at prices and mix",
    "freshness": "Mend the delivery of the table; read no figures of the days that are missing",
}
_TICKET = {
    "availability": "Hold back risky releases; mend the most frequent kind of error",
    "error_rate": "Hold back risky releases; mend the most frequent kind of error",
    "latency": "Plan capacity for the busy hours, or a faster variant",
    "accuracy": "Look at the data that the model was evaluated on, and plan a retrain",
    "cost_per_inference": "Look at prices, mix and cache hits; try the cheaper variant",
    "freshness": "Look at the delivery of the table",
}
# By objective, severity and what the alert coincides with; "" where that is nothing of its own.
ACTIONS: Mapping[tuple[str, str, str], str] = {
    **{(objective, "page", ""): said for objective, said in _PAGE.items()},
    **{(objective, "ticket", ""): said for objective, said in _TICKET.items()},
    **{
        (objective, severity, what): said
        for objective in ("availability", "error_rate", "latency")
        for severity in ("page", "ticket")
        for what, said in _BACK.items()
    },
    **{
        (objective, severity, what): _BACK[what]
        for objective in ("accuracy", "cost_per_inference")
        for severity in ("page", "ticket")
        for what in ("deploy", "config", "retrain")
    },
}


def actions(
    alerts: pl.DataFrame,
    coincidences: pl.DataFrame | None = None,
    *,
    words: Mapping[tuple[str, str, str], str] | None = None,
) -> pl.DataFrame:
    """Recommend an action for every alert that is proved.

    Parameters
    ----------
    alerts : polars.DataFrame
        `finops_lab.service_levels.schemas.ALERTS`.
    coincidences : polars.DataFrame, optional
        `finops_lab.service_levels.schemas.COINCIDENCES`. The first of an alert counts if it is of
        the same service, pool or model.
    words : mapping, optional
        Actions by (objective, severity, coincidence), such as ``("latency", "page", "")``, that go
        before those of `ACTIONS`.

    Returns
    -------
    polars.DataFrame
        What tells the promise, ``begin``, ``severity``, ``kind``, ``action`` and ``coincides``
        (words, or null), in the order of the alerts.

    Examples
    --------
    >>> ACTIONS["latency", "page", ""]
    'Add capacity to the pool, or send traffic to a faster variant'
    """
    said = {**ACTIONS, **(words or {})}
    keys = ["slo", "begin", "severity"]
    proved = alerts.filter(status="proved").select(*PROMISE, "begin", "severity", "kind")
    if coincidences is None:
        near = proved.select(keys).clear().with_columns(pl.lit("").alias("what"), pl.lit("").alias("words"))
    else:
        first = pl.col("rank") == pl.col("rank").min().over(keys)
        near = coincidences.filter(first & pl.col("match").is_not_null()).select(*keys, "what", "words")
    joined = proved.join(near, on=keys, how="left", maintain_order="left")
    texts = [
        said.get((objective, severity, what or ""), said[objective, severity, ""])
        for objective, severity, what in joined.select("objective", "severity", "what").iter_rows()
    ]
    return joined.select(
        *proved.columns, pl.Series("action", texts, pl.String), pl.col("words").alias("coincides")
    )
