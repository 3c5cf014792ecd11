"""Hourly use added up within the periods that bill rows charge for."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

__all__ = ["PERIOD", "overlapping", "shared_within", "within"]

PERIOD = ("_start", "_end")
_MAX_HOURS = 24 * 366
_HOUR = 3_600_000_000


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
    """Cut paid time into pieces that no period's begin or end lies in, where periods overlap.

    Parameters
    ----------
    paid : polars.DataFrame
        ``_start``, ``_end`` (each pair once) and ``_paid``, the time that was paid for in the
        period (Int64; null or 0 where the bill does not say it).

    Returns
    -------
    polars.DataFrame or None
        The period, its ``_paid`` and ``hour``; ``_length`` of the piece (microseconds), what of
        ``_paid`` falls into it (``_own``, spread evenly over the period), into the same piece of
        all periods (``_sum``), and of those before (``_before``). None where no two periods overlap.
    """
    hour = pl.duration(hours=1)
    # As in `within`: a period without length is the hour that it starts in.
    whole = pl.col("_end").is_null() | (pl.col("_end") <= pl.col("_start"))
    begin = pl.when(whole).then(pl.col("_start").dt.truncate("1h")).otherwise("_start")
    until = pl.when(whole).then(begin + hour).otherwise("_end")
    spans = paid.filter(pl.col("_paid") > 0).with_columns(begin.alias("_from"), until.alias("_to"))
    spans = spans.sort("_from", "_to", *PERIOD, nulls_last=True)
    if not (spans["_from"] < spans["_to"].cum_max().shift(1)).any():
        return None
    parts = _hours(spans.lazy()).with_columns(
        pl.max_horizontal("_from", "hour").alias("_cut"),
        pl.min_horizontal("_to", pl.col("hour") + hour).alias("_last"),
    )
    cuts = pl.concat([parts.select("hour", "_cut"), parts.select("hour", pl.col("_last").alias("_cut"))])
    pieces = (
        cuts.unique()
        .sort("hour", "_cut")
        .with_columns(pl.col("_cut").shift(-1).over("hour").alias("_next"))
        .drop_nulls("_next")
        .join(parts.rename({"_cut": "_first"}), on="hour")
        .filter(pl.col("_first") <= pl.col("_cut"), pl.col("_next") <= pl.col("_last"))
    )
    length, span = (
        (pl.col(b) - pl.col(a)).dt.total_microseconds() for a, b in (("_cut", "_next"), ("_from", "_to"))
    )
    own, piece = pl.col("_own"), ["hour", "_cut"]
    return (
        pieces.with_columns(
            length.alias("_length"),
            (pl.col("_paid").cast(pl.Int128) * length // pl.min_horizontal(span, _MAX_HOURS * _HOUR)).alias(
                "_own"
            ),
        )
        .sort(*piece, *PERIOD, nulls_last=True)
        .with_columns(own.sum().over(piece).alias("_sum"), (own.cum_sum().over(piece) - own).alias("_before"))
        .filter(pl.col("_sum") > 0)
        .select(*PERIOD, "_paid", "hour", "_length", "_own", "_sum", "_before")
        .collect()
    )


def shared_within(pieces: pl.DataFrame, use: pl.LazyFrame) -> pl.LazyFrame:
    """Add up hourly use within periods that overlap: each takes the part of the paid time that it pays for.

    Parameters
    ----------
    pieces : polars.DataFrame
        Result of `overlapping`.
    use : polars.LazyFrame
        ``hour`` and columns to add up.

    Returns
    -------
    polars.LazyFrame
        The period, ``_paid``, the sums, and ``_pieces`` (their number: no sum is off by as many microseconds).
    """
    sums = [name for name in use.collect_schema() if name != "hour"]
    own, before, whole = (pl.col(name).cast(pl.Int128) for name in ("_own", "_before", "_sum"))
    taken = []
    for name in sums:
        here = pl.col(name).cast(pl.Int128) * pl.col("_length") // _HOUR
        # What rounding leaves goes to the next: all parts of a piece add up to its use.
        taken.append((here * (before + own) // whole - here * before // whole).alias(name))
    found = pieces.lazy().join(use, on="hour", how="inner").with_columns(taken)
    added = found.group_by([*PERIOD, "_paid"]).agg(
        pl.col(sums).sum(), pl.len().cast(pl.Int64).alias("_pieces")
    )
    return added.with_columns(pl.col(sums).cast(pl.Int64))
