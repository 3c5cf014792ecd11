"""Hourly use added up within the periods that bill rows charge for."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

__all__ = ["PERIOD", "overlapping", "shared_within", "within"]

PERIOD = ("_start", "_end")
_MAX_HOURS = 24 * 366
_HOUR = 3_600_000_000
_PIECES_AT_ONCE = 4_000_000


def within(periods: pl.LazyFrame, use: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """Add up hourly use within each charge period.

    Parameters
    ----------
    periods : polars.LazyFrame
        ``_start`` and ``_end`` (Datetime, UTC), each pair once. A period without an end, or of less
        than an hour, is the hour that it starts in; of one longer than a year, the first year counts.
    use : polars.LazyFrame
        ``hour``, the keys, and columns to add up.
    keys : sequence of str
        Columns that tell users apart.

    Returns
    -------
    polars.LazyFrame
        The period, the keys, and the sums. Periods without use have no row.
    """
    keys = list(dict.fromkeys(keys))
    found = _hours(periods).join(use, on="hour", how="inner")
    sums = [name for name in use.collect_schema() if name not in ("hour", *keys)]
    # Of an hour that the period covers in part, that part counts; of a period without length, all.
    begin = pl.max_horizontal("_start", "hour")
    until = pl.min_horizontal(pl.coalesce("_end", "hour"), pl.col("hour") + pl.duration(hours=1))
    part = (until - begin).dt.total_microseconds().clip(0).cast(pl.Int128)
    part = pl.when(part == 0).then(pl.lit(_HOUR, pl.Int128)).otherwise(part)
    # In 128 bits, so that what leaves 64 is an error and no negative number.
    scaled = [(pl.col(n).cast(pl.Int128) * part // _HOUR).alias(n) for n in sums]
    added = (
        found.with_columns(scaled).group_by([*PERIOD, *keys], maintain_order=False).agg(pl.col(sums).sum())
    )
    return added.with_columns(pl.col(sums).cast(pl.Int64))


def _hours(periods: pl.LazyFrame) -> pl.LazyFrame:
    """Add the hours of each period, a row each."""
    first = pl.col("_start").dt.truncate("1h")
    # The last hour is the one in which the period's last microsecond lies.
    last = pl.max_horizontal(first, pl.col("_end").fill_null(first) - pl.duration(microseconds=1))
    last = pl.min_horizontal(last, first + pl.duration(hours=_MAX_HOURS))
    hours = periods.with_columns(pl.datetime_ranges(first, last, interval="1h").alias("hour"))
    return hours.explode("hour", empty_as_null=False)


def overlapping(paid: pl.DataFrame) -> pl.DataFrame | None:
    """Return the hours of periods that pay for time, where any of these overlap.

    Parameters
    ----------
    paid : polars.DataFrame
        ``_start``, ``_end`` (each pair once) and ``_paid``, the time that was paid for in the
        period (Int64; null or 0 where the bill does not say it).

    Returns
    -------
    polars.DataFrame or None
        Per period and ``hour``: ``_paid``, the period's ``_span`` (microseconds), and the part of the
        hour that it covers, ``_first`` to ``_last``. None where no two periods overlap.
    """
    # As in `within`: a period without length is the hour that it starts in.
    whole = pl.col("_end").is_null() | (pl.col("_end") <= pl.col("_start"))
    first = pl.when(whole).then(pl.col("_start").dt.truncate("1h")).otherwise("_start")
    hour = pl.duration(hours=1)
    last = pl.when(whole).then(first + hour).otherwise("_end")
    spans = paid.filter(pl.col("_paid") > 0).with_columns(first.alias("_first"), last.alias("_last"))
    spans = spans.sort("_first", "_last", *PERIOD, nulls_last=True)
    if not (spans["_first"] < spans["_last"].cum_max().shift(1)).any():
        return None
    span = (pl.col("_last") - pl.col("_first")).dt.total_microseconds()
    return (
        _hours(spans.lazy().with_columns(pl.min_horizontal(span, _MAX_HOURS * _HOUR).alias("_span")))
        .with_columns(
            pl.max_horizontal("_first", "hour").alias("_first"),
            pl.min_horizontal("_last", pl.col("hour") + hour).alias("_last"),
        )
        .collect()
    )


def shared_within(hours: pl.DataFrame, use: pl.LazyFrame) -> pl.LazyFrame:
    """Add up hourly use within periods that overlap: each takes the part of the paid time that it pays for.

    Time is cut where any period begins or ends. A period pays evenly over its length, and the use of
    a piece goes to its periods by what they paid for it.

    Parameters
    ----------
    hours : polars.DataFrame
        Result of `overlapping`.
    use : polars.LazyFrame
        ``hour``, each once, and columns to add up.

    Returns
    -------
    polars.LazyFrame
        The period, ``_paid``, the sums, and ``_pieces``: no sum is off by as many microseconds.
    """
    used = use.collect()
    names = [name for name in used.columns if name != "hour"]
    known = hours.join(used, on="hour").sort("hour", "_first", *PERIOD, nulls_last=True)
    # Pieces are as many as the square of an hour's periods: some hours at a time.
    sizes = known.group_by("hour").agg(pl.len().cast(pl.Int64).pow(2).alias("size")).sort("hour")
    before = pl.col("size").cum_sum().shift(fill_value=0)
    batches = sizes.select("hour", (before // _PIECES_AT_ONCE).alias("_batch"))
    parts = known.join(batches, on="hour", maintain_order="left").partition_by("_batch", maintain_order=True)
    done = [_shared(part.lazy().drop("_batch"), names).collect() for part in parts]
    added = pl.concat([_shared(known.lazy().clear(), names).collect(), *done]).lazy()
    sums = added.group_by([*PERIOD, "_paid"]).agg(pl.col(*names, "_pieces").sum())
    return sums.with_columns(pl.col(names).cast(pl.Int64))


def _shared(parts: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    cuts = pl.concat([parts.select("hour", pl.col(name).alias("_cut")) for name in ("_first", "_last")])
    next_cut = pl.col("_cut").shift(-1).over("hour").alias("_next")
    pieces = cuts.unique().sort("hour", "_cut").with_columns(next_cut).drop_nulls("_next")
    length = (pl.col("_next") - pl.col("_cut")).dt.total_microseconds()
    own, piece = pl.col("_own"), ["hour", "_cut"]
    weighed = (
        pieces.join(parts, on="hour")
        .filter(pl.col("_first") <= pl.col("_cut"), pl.col("_next") <= pl.col("_last"))
        .with_columns((pl.col("_paid").cast(pl.Int128) * length // pl.col("_span")).alias("_own"))
        .sort(*piece, *PERIOD, nulls_last=True)
        .with_columns(own.sum().over(piece).alias("_sum"), (own.cum_sum().over(piece) - own).alias("_before"))
        .filter(pl.col("_sum") > 0)
    )
    taken = []
    for name in names:
        here = pl.col(name).cast(pl.Int128) * length // _HOUR
        to, since = (here * parts // pl.col("_sum") for parts in (pl.col("_before") + own, pl.col("_before")))
        # What rounding leaves goes to the next: all parts of a piece add up to its use.
        taken.append((to - since).alias(name))
    return (
        weighed.with_columns(taken)
        .group_by([*PERIOD, "_paid"])
        .agg(pl.col(names).sum(), pl.len().cast(pl.Int64).alias("_pieces"))
    )
