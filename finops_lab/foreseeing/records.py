"""Forecasts that were made, kept beside the lake: what was really said, for when the month has come."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import version as package_version

import polars as pl

from finops_lab.calendar import format_month
from finops_lab.forecasting.panel import VALUES
from finops_lab.forecasting.tracking import variance
from finops_lab.foreseeing.histories import BY, Panels, panels
from finops_lab.foreseeing.outlook import Outlook
from finops_lab.keeping import digest
from finops_lab.lab import Lab

__all__ = ["FOLDER", "KEPT", "keep", "kept", "said_and_came"]

FOLDER = "forecasts"
KEPT: dict[str, pl.DataType] = {
    "said_after": pl.Date(),
    "through": pl.Date(),
    "metric": pl.String(),
    "currency": pl.String(),
    "level": pl.String(),
    "unique_id": pl.String(),
    "ds": pl.Date(),
    **{name: pl.Float64() for name in VALUES},
    "model": pl.String(),
    "release": pl.String(),
    "inputs": pl.String(),
}


def keep(lab: Lab, made: Outlook, inputs: str) -> None:
    """Keep a forecast below ``lake/forecasts``, for the record.

    One file per month, metric and everything it was made of: the same forecast made again writes
    nothing. A lab that was opened as of a date keeps nothing, and where nothing can be written
    nothing is: reports never read this.

    Parameters
    ----------
    lab : Lab
        The opened lab.
    made : Outlook
        Its forecast.
    inputs : str
        The digest of what it was made of, such as that of the ledger.
    """
    if lab.as_of is not None:
        return
    panels_ = made.panels
    rows = made.nodes.join(panels_.names.select("unique_id", "level", "name"), on="unique_id").select(
        pl.lit(panels_.month).alias("said_after"),
        pl.lit(panels_.through).alias("through"),
        pl.lit(panels_.metric).alias("metric"),
        pl.lit(panels_.currency).alias("currency"),
        "level",
        pl.col("name").alias("unique_id"),
        "ds",
        *VALUES,
        "model",
        pl.lit(package_version("finops-lab")).alias("release"),
        pl.lit(inputs).alias("inputs"),
    )
    rows = rows.select(pl.col(name).cast(kind) for name, kind in KEPT.items()).sort(
        "level", "unique_id", "ds"
    )
    settled = [inputs, package_version("finops-lab"), list(panels_.by), made.total.height, repr(KEPT)]
    name = f"{format_month(panels_.month)}-{panels_.metric}-{digest(settled)[:16]}.parquet"
    place = lab.folder / "lake" / FOLDER / name
    if place.exists():
        return
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{name}.{os.getpid()}")
        rows.write_parquet(beside, compression="lz4")
        beside.replace(place)


def kept(lab: Lab) -> pl.DataFrame:
    """Return every kept forecast of a lab.

    Returns
    -------
    polars.DataFrame
        ``said_after`` (Date, the last month it knew), ``through`` (Date, the last day with charges by
        then), ``metric``, ``currency``, ``level``, ``unique_id`` (the value), ``ds``, the values,
        ``model``, ``release`` of this package and ``inputs`` (a digest), sorted. What cannot be read
        is left out.
    """
    parts = [pl.DataFrame(schema=KEPT)]
    for place in sorted((lab.folder / "lake" / FOLDER).glob("*.parquet")):
        with suppress(OSError, pl.exceptions.PolarsError):
            found = pl.read_parquet(place)
            if found.schema == pl.Schema(KEPT):
                parts.append(found)
    return pl.concat(parts).sort("said_after", "through", "metric", "inputs", "level", "unique_id", "ds")


def said_and_came(lab: Lab, made: Panels | None = None) -> pl.DataFrame:
    """Set kept forecasts against what came.

    Of several forecasts made after the same month, the one that knew fewest days counts: it is what
    was said first. One made when the month it speaks of was over does not count.

    Parameters
    ----------
    lab : Lab
        The opened lab.
    made : Panels, optional
        What came. Default: by team and model, up to the lab's newest month.

    Returns
    -------
    polars.DataFrame
        ``level``, and `finops_lab.forecasting.tracking.SCHEMA` with the source ``kept``, of months
        that have come. Forecasts of another metric or currency are not looked at.
    """
    if made is None:
        made = panels(lab, lab.months()[-1], BY)
    here = pl.col("metric") == made.metric, pl.col("currency") == made.currency
    keys = ["said_after", "level", "unique_id", "ds"]
    # Once the month is over it is no forecast of it any more.
    before = pl.col("through") < pl.col("ds").dt.month_end()
    first = kept(lab).filter(*here, before).unique(keys, keep="first", maintain_order=True)
    came = made.going_on.join(made.names, on="unique_id").select(
        "level", "ds", pl.col("y").cast(pl.Float64), unique_id="name"
    )
    lead = (pl.col("ds").dt.year() - pl.col("said_after").dt.year()) * 12 + (
        pl.col("ds").dt.month().cast(pl.Int32) - pl.col("said_after").dt.month().cast(pl.Int32)
    )
    rows = first.filter(pl.col("ds") <= made.month).join(came, on=["level", "unique_id", "ds"], how="left")
    rows = rows.with_columns(lead.cast(pl.Int64).alias("lead"), pl.lit("kept").alias("source"))
    parts = rows.partition_by("level", as_dict=True, maintain_order=True).items()
    judged = [variance(part).select(pl.lit(level).alias("level"), pl.all()) for (level,), part in parts]
    return pl.concat([variance(rows.clear()).select(pl.lit("").alias("level"), pl.all()), *judged])
