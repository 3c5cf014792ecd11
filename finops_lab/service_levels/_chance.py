"""Whether bad rows are more than chance: exact tests on the rows that were really seen."""

from __future__ import annotations

from decimal import Decimal

import polars as pl

from finops_lab.service_levels.schemas import Schema

__all__ = ["ASKED", "MOST_CHANCE", "by_chance", "counted_words", "level_words", "proved_levels"]

# Every five minutes somebody looks, so one in a hundred would come by chance every few days.
MOST_CHANCE = 0.001
_LEAST_WEIGHT = 0.001
# What `proved_levels` is asked with, besides counts.
ASKED: Schema = {"by_events": pl.Boolean, "by_money": pl.Boolean, "share": pl.Float64, "times": pl.Float64}


def by_chance(frame: pl.DataFrame) -> pl.DataFrame:
    """Tell how likely as many bad rows are where no more than a share of all calls is bad.

    With rows that stand for one number of calls each, ``chance`` is the exact binomial probability
    of at least as many bad rows of so many. Rows of different weights say less than their number:
    they count as so many calls of one weight as give the excess of bad calls over the share the
    same variance, (1 - share)^2 x squares of bad + share^2 x squares of good, over the same without
    squares. That lies near the mean weight of bad calls where shares are small, so that one bad row
    that stands for much is never taken for many; Kish's (sum of weights)^2 / sum of squares, of all
    rows, would.

    Parameters
    ----------
    frame : polars.DataFrame
        ``bad``, ``total``, ``bad_squares``, ``squares`` as in
        `finops_lab.service_levels.schemas.EVENTS`, ``share`` (Float64); ``bad`` above 0.

    Returns
    -------
    polars.DataFrame
        Besides ``worth_bad``, ``worth`` (calls of one weight) and ``chance``, all Float64.

    Examples
    --------
    Of 12 rows of 4,096 calls each one is bad; at most 2 % of calls may be.

    >>> seen = pl.DataFrame({"bad": [4096], "total": [12 * 4096], "bad_squares": [4096**2],
    ...     "squares": [12 * 4096**2], "share": [0.02]})
    >>> by_chance(seen).select(pl.col("worth_bad", "worth", "chance").round(3)).row(0)
    (1.0, 12.0, 0.215)
    """
    from scipy.special import betainc

    bad, total, bad_squares, squares = (
        pl.col(name).cast(pl.Float64) for name in ("bad", "total", "bad_squares", "squares")
    )
    # A share of 1 cannot be passed: as good as 1 keeps the weights of good rows out of 0 / 0.
    share = pl.col("share").clip(0, 1 - 1e-9)
    of_bad, of_good = (1 - share) ** 2, share**2
    variance = of_bad * bad_squares + of_good * (squares - bad_squares)
    weight = (variance / (of_bad * bad + of_good * (total - bad))).clip(_LEAST_WEIGHT)
    done = frame.with_columns(share, (bad / weight).alias("worth_bad"), (total / weight).alias("worth"))
    least, size, limit = (done[name].to_numpy() for name in ("worth_bad", "worth", "share"))
    # At least k of n: the incomplete beta function, which is there between whole numbers, too.
    return done.with_columns(pl.Series("chance", betainc(least, size - least + 1, limit), pl.Float64))


def counted_words(bad_rows: str, rows: str, at: pl.Expr) -> pl.Expr:
    """Say how many rows were bad and how many would be expected, from columns of `by_chance`."""
    bad, every = (pl.col(name).round(1).cast(pl.String) for name in ("worth_bad", "worth"))
    expected = (pl.col("share") * pl.col("worth")).round(1).cast(pl.String)
    # Rows of one weight are worth themselves.
    alike = (pl.col("worth") - pl.col(rows)).abs() < 0.05
    worth = pl.when(alike).then(pl.lit("")).otherwise(pl.format(", worth {} of {} alike calls", bad, every))
    return pl.format("{} of {} calls seen are bad{}, {} expected {}", bad_rows, rows, worth, expected, at)


def level_words(level: Decimal) -> str:
    """Name a level of a budget.

    Examples
    --------
    >>> level_words(Decimal("0.8"))
    '80 % spent'
    """
    return f"{level * 100:.0f} % spent"


def proved_levels(frame: pl.DataFrame, most_chance: float, at: str) -> pl.DataFrame:
    """Tell where a level of a budget that was reached is reached by more than chance.

    A log of every call is a count, and what it says was spent is spent. Of a sampled log, bad calls
    are tested as in `by_chance`. Money is tested as a number of bad rows (Poisson) that cost alike.

    Parameters
    ----------
    frame : polars.DataFrame
        As for `by_chance`, with ``rows``, ``bad_rows``, ``by_events`` and ``by_money`` (whether events
        and money reached the level) and ``times`` (Float64: money over the level).
    most_chance : float
        What counts as chance.
    at : str
        The level, in words.

    Returns
    -------
    polars.DataFrame
        Besides ``proved`` (Boolean; null where nothing is reached) and ``reason``.
    """
    from scipy.special import gammainc

    keyed = frame.with_row_index("_row")
    reached = pl.col("by_events") | pl.col("by_money")
    sampled = pl.col("squares") > pl.col("total")
    by_events = by_chance(keyed.filter(pl.col("by_events") & sampled))
    money = keyed.filter(pl.col("by_money") & sampled).with_columns(
        (pl.col("bad").cast(pl.Float64) ** 2 / pl.col("bad_squares").cast(pl.Float64)).alias("worth_bad")
    )
    least, times = money["worth_bad"].to_numpy(), money["times"].to_numpy()
    money = money.with_columns(pl.Series("chance", gammainc(least, least / times), pl.Float64))
    # Most moments are proved, and many are: only the others need words.
    doubted = pl.col("chance") > most_chance
    texts = by_events.filter(doubted).select(
        "_row", counted_words("bad_rows", "rows", pl.lit(f"at {at}")).alias("_said")
    )
    said = pl.format(
        f"what {{}} bad calls seen cost is {{}} times {at}", "bad_rows", pl.col("times").round(2)
    )
    costs = money.filter(doubted).select("_row", said.alias("_cost"))
    joined = keyed
    for found in (
        by_events.select("_row", pl.col("chance").alias("_events")),
        money.select("_row", pl.col("chance").alias("_money")),
        texts,
        costs,
    ):
        # Most moments reach no level: where none does there is nothing to join.
        if found.is_empty():
            joined = joined.with_columns(
                pl.lit(None, kind).alias(name) for name, kind in found.schema.items() if name != "_row"
            )
        else:
            joined = joined.join(found, on="_row", how="left", maintain_order="left")
    likely = pl.min_horizontal("_events", "_money")
    proved = pl.when(reached).then(~sampled | (likely <= most_chance)).alias("proved")
    words = pl.when(~pl.col("proved")).then(
        pl.concat_str(pl.coalesce("_said", "_cost"), pl.lit(": within chance"))
    )
    done = joined.with_columns(proved).with_columns(words.alias("reason"))
    return done.drop("_row", "_events", "_said", "_money", "_cost")
