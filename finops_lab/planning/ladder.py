"""A ladder of terms: a level bought in tranches, so that never much of it ends in one month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.calendar import add_months, months_from
from finops_lab.errors import InputError
from finops_lab.money import MONEY, split

__all__ = ["LADDER", "held_by_month", "ladder"]

LADDER: dict[str, pl.DataType | type[pl.DataType]] = {
    "tranche": pl.Int64,
    "term_months": pl.Int64,
    "first": pl.Date,
    "ends": pl.Date,
    "level": MONEY,
    "share": pl.Float64,
}
_WAIT = 12  # months after which the last tranche is bought


def ladder(
    level: Decimal,
    terms: Mapping[int, Decimal],
    *,
    start: date,
    most_ending: Decimal = Decimal("0.25"),
    step: Decimal = Decimal(1),
    held: Mapping[date, Decimal] | None = None,
) -> pl.DataFrame:
    """Split a level into tranches that end in different months.

    Parameters
    ----------
    level : Decimal
        Units in all, a multiple of `step`.
    terms : mapping of int to Decimal
        What each term, in months, has a part of, such as ``{12: Decimal(1), 36: Decimal(1)}``.
    start : datetime.date
        Month of the first tranche.
    most_ending : Decimal
        Share of the level that may end in one month at most, with what is held.
    step : Decimal
        Units that can be bought at once.
    held : mapping of datetime.date to Decimal, optional
        Units that end in a month (its first day) already.

    Returns
    -------
    polars.DataFrame
        `LADDER`, in order of purchase: ``first`` month, ``ends`` (the last month), ``level`` (the
        tranches add up to the whole) and ``share`` of it. Tranches are spread over a year, or the
        term where it is shorter: until the last is bought the rest is paid on demand.

    Raises
    ------
    InputError
        The level is no multiple of the step, one step is more than may end in a month, or the months
        of a term do not suffice.

    Examples
    --------
    >>> rungs = ladder(Decimal(8), {12: Decimal(1)}, start=date(2026, 11, 1))
    >>> [(f"{first:%Y-%m}", int(part)) for first, part in rungs.select("first", "level").iter_rows()]
    [('2026-11', 2), ('2027-02', 2), ('2027-05', 2), ('2027-08', 2)]
    """
    if level <= 0 or level % step:
        raise InputError(f"a level of {level} is no multiple of {step} above 0")
    if not 0 < most_ending <= 1:
        raise InputError("most_ending is a share between 0 and 1")
    if not terms or min(terms.values()) < 0 or not any(terms.values()) or min(terms) < 1:
        raise InputError("a ladder needs terms of a month and more, with a part each")
    units = int(level / step)
    cap = int(units * most_ending)
    if cap < 1:
        raise InputError(
            f"one step of {step} is more than {most_ending:.0%} of {level}", hint="let more end in a month"
        )
    ending: dict[date, Decimal] = defaultdict(Decimal, held or {})
    rows = []
    parts = split(Decimal(units), list(terms.values()), 0)
    for (term, _), part in sorted(zip(terms.items(), parts, strict=True)):
        count = -(-int(part) // cap)
        spacing = max(1, min(term, _WAIT) // count) if count else 1
        for place, size in enumerate(split(part, [1] * count, 0) if count else ()):
            amount = size * step
            for later in range(term):
                first = add_months(start, (place * spacing + later) % term)
                ends = add_months(first, term - 1)
                if ending[ends] + amount <= level * most_ending:
                    break
            else:
                raise InputError(
                    f"{count} tranches of {term} months cannot end in different months",
                    hint="let more end in a month, or take longer terms",
                )
            ending[ends] += amount
            rows.append((term, first, ends, amount, float(amount / level)))
    rows.sort(key=lambda row: (row[1], row[0]))
    return pl.DataFrame([(i, *row) for i, row in enumerate(rows, 1)], schema=LADDER, orient="row")


def held_by_month(rungs: pl.DataFrame) -> pl.DataFrame:
    """Tell how much of a ladder is held in each month, and how much ends in it.

    Parameters
    ----------
    rungs : polars.DataFrame
        `LADDER`.

    Returns
    -------
    polars.DataFrame
        ``month`` (Date), ``level`` and ``ending`` (Decimal), from the first month to the last.

    Examples
    --------
    >>> found = held_by_month(ladder(Decimal(4), {2: Decimal(1)}, start=date(2026, 11, 1), most_ending=Decimal("0.5")))
    >>> [(f"{month:%m}", int(level), int(ending)) for month, level, ending in found.iter_rows()]
    [('11', 2, 0), ('12', 4, 2), ('01', 2, 2)]
    """
    every = months_from(min(rungs["first"]), max(rungs["ends"]))
    months = pl.DataFrame({"month": every}, schema={"month": pl.Date})
    zero = pl.lit(Decimal(0), MONEY)
    there = pl.col("month").is_between(pl.col("first"), pl.col("ends"))
    return (
        months.join(rungs, how="cross")
        .group_by("month")
        .agg(
            pl.when(there).then("level").otherwise(zero).sum().cast(MONEY).alias("level"),
            pl.when(pl.col("month") == pl.col("ends"))
            .then("level")
            .otherwise(zero)
            .sum()
            .cast(MONEY)
            .alias("ending"),
        )
        .sort("month")
    )
