"""Coverage: how much of a bill has an owner, by three definitions that stay between 0 and 1."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.allocation.dimensions import assign, inputs
from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.config import Dimensions
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import InputError
from finops_lab.money import MONEY

__all__ = ["coverage", "dated", "only", "ratio", "require", "row_count", "valued"]

# Name, the measure that is counted or added up, and the rows it looks at.
_DEFINITIONS = (
    ("rows", None, "_rows"),
    ("gross_positive", "_positive", "_rows_positive"),
    ("absolute", "_absolute", "_rows_known"),
)
_MEASURES = ("_rows", "_rows_positive", "_rows_known", "_positive", "_absolute")
_RESULT: dict[str, pl.DataType] = {
    "BillingCurrency": pl.String(),
    "metric": pl.String(),
    "definition": pl.String(),
    "covered_rows": pl.Int64(),
    "total_rows": pl.Int64(),
    "covered": MONEY,
    "total": MONEY,
    "share": pl.Float64(),
}


def coverage(
    entries: pl.DataFrame | pl.LazyFrame,
    dimension: str = "team",
    metric: str = "EffectiveCost",
    by: str | None = None,
    *,
    dimensions: Dimensions | None = None,
) -> pl.DataFrame:
    """Tell which share of a bill has a value of a dimension, by three definitions side by side.

    Coverage is never a share of the net cost: a credit without an owner makes the covered part
    larger than the whole (108.3 % on the FinOps Foundation's FOCUS sample, where rows say 71.1 %
    and absolute amounts 86.5 %). None of these three can leave 0 to 1:

    - ``rows``: charges, whatever they cost;
    - ``gross_positive``: money of the charges above zero; credits and refunds are left out;
    - ``absolute``: money without its sign, so that an unowned credit counts as unowned.

    Parameters
    ----------
    entries : polars.DataFrame or LazyFrame
        Ledger entries, or bill rows (see Notes) with ``BillingCurrency``, `metric` (Decimal) and
        the columns of `dimension` and `by`. ``x_Rows`` are the bill rows in each; 1 where absent.
    dimension : str
        A dimension such as ``team``, covered where it is not null (and, for the team, not
        ``unallocated``, however the owner was found: a split counts). Or any column, covered where
        it is not null; ``Tags`` is not covered by an empty ``{}``.
    metric : str
        The cost column.
    by : str, optional
        A dimension or column to tell apart. ``x_ChargeMonth`` is taken from
        ``ChargePeriodStart`` where bill rows lack it.
    dimensions : Dimensions, optional
        Rules to run on bill rows first. Ledger entries need none.

    Returns
    -------
    polars.DataFrame
        Three rows per value of `by` and currency, sorted: the column of `by` if given,
        ``BillingCurrency`` (String; rows too are counted per currency, so that the three
        definitions speak of the same charges), ``metric``, ``definition`` (String),
        ``covered_rows``, ``total_rows`` (Int64: rows that the definition looks at, so rows whose
        amount is unknown are missing from ``absolute``), ``covered``, ``total`` (Decimal, in the
        currency; null for ``rows`` and where every amount is unknown) and ``share`` (Float64, 0 to
        1; null where the total is 0 or unknown).

    Raises
    ------
    InputError
        When a column is missing, or `metric` is not Decimal.

    Notes
    -----
    Money is exact at the grain of the rows given. A ledger entry is a sum of bill rows: a charge
    and a credit of one owner and day are netted in it, so ``gross_positive`` and ``absolute`` of
    entries may differ from those of the bill; and a split with a negative idle line has a larger
    absolute amount than the charge that was split. Give bill rows with `dimensions` for the exact
    coverage by rules; give the ledger for coverage after splits. ``rows`` of a ledger counts a split
    row once, with the part that carries its count.

    Examples
    --------
    >>> from decimal import Decimal
    >>> bill = pl.DataFrame({
    ...     "BillingCurrency": ["USD"] * 3, "x_team": ["search", "ads", None],
    ...     "EffectiveCost": [Decimal("10"), Decimal("20"), Decimal("-10")]})
    >>> coverage(bill).select("definition", "share").rows()
    [('rows', 0.6666666666666666), ('gross_positive', 1.0), ('absolute', 0.75)]
    """
    frame = entries.lazy()
    known = frame.collect_schema()
    dimension = dimension.removeprefix("x_") if dimension.removeprefix("x_") in DIMENSIONS else dimension
    by = f"x_{by}" if by in DIMENSIONS else by
    if by == "x_ChargeMonth" and by not in known and "ChargePeriodStart" in known:
        frame = frame.with_columns(pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias(by))
    # What the rules will add need not be there yet.
    wanted = f"x_{dimension}" if dimension in DIMENSIONS else dimension
    ruled = [] if dimensions is None else [d for d in DIMENSIONS if f"x_{d}" in (wanted, by)]
    given = [name for name in (wanted, by) if name and name.removeprefix("x_") not in ruled]
    require(frame, [metric, "BillingCurrency", *given], metric)
    frame = frame.with_columns(_measures(metric, row_count(frame)))
    if dimensions is not None:
        frame, rules = dated(frame), only(dimensions, ruled)
        assign(frame, rules)  # refuses rules that name unknown columns, before the work
        seen = [name for name in inputs(rules) if name in frame.collect_schema().names()]
        # All five measures add up, so the rules run once per combination of what they look at.
        keys = list(dict.fromkeys([*seen, *given, "BillingCurrency"]))
        frame = assign(frame.group_by(keys).agg(pl.col(*_MEASURES).sum()), rules)
    groups = list(dict.fromkeys([*([by] if by else []), "BillingCurrency"]))
    sums = (
        frame.with_columns(valued(dimension).alias("_covered"))
        .group_by(groups)
        .agg(
            pl.col(*_MEASURES).sum(),
            pl.col(*_MEASURES).filter(pl.col("_covered")).sum().name.suffix("_covered"),
        )
        .collect(engine="streaming")
    )
    return _finish(sums, groups, metric)


def _measures(metric: str, rows: pl.Expr) -> list[pl.Expr]:
    amount = pl.col(metric).cast(MONEY)
    zero = pl.lit(0, pl.Int64)
    return [
        rows.alias("_rows"),
        pl.when(amount > 0).then(rows).otherwise(zero).alias("_rows_positive"),
        pl.when(amount.is_not_null()).then(rows).otherwise(zero).alias("_rows_known"),
        pl.when(amount > 0).then(amount).alias("_positive"),
        amount.abs().alias("_absolute"),
    ]


def _finish(sums: pl.DataFrame, groups: list[str], metric: str) -> pl.DataFrame:
    parts = []
    for order, (name, money, rows) in enumerate(_DEFINITIONS):
        # The sum of nothing but unknown amounts is unknown, not zero.
        amounts = [
            pl.when(pl.col("_rows_known") > 0).then(f"{money}{end}") if money else pl.lit(None)
            for end in ("_covered", "")
        ]
        part = sums.select(
            *groups,
            pl.lit(metric).alias("metric"),
            pl.lit(name).alias("definition"),
            pl.col(f"{rows}_covered").alias("covered_rows"),
            pl.col(rows).alias("total_rows"),
            amounts[0].cast(MONEY).alias("covered"),
            amounts[1].cast(MONEY).alias("total"),
            pl.lit(order).alias("_order"),
        )
        pair = ("covered", "total") if money else ("covered_rows", "total_rows")
        shares = [ratio(share, whole) for share, whole in part.select(pair).iter_rows()]
        parts.append(part.with_columns(pl.Series("share", shares, dtype=pl.Float64)))
    table = pl.concat(parts).sort(*groups, "_order", nulls_last=True)
    return table.select(*groups, *[name for name in _RESULT if name not in groups])


def ratio(part: Decimal | int | None, whole: Decimal | int | None) -> float | None:
    """Divide exactly and round once; null where there is nothing to divide by.

    Examples
    --------
    >>> ratio(Decimal("0.3"), Decimal("0.4")), ratio(0, 0), ratio(None, None)
    (0.75, None, None)
    """
    return None if part is None or not whole else float(Fraction(part) / Fraction(whole))


def valued(dimension: str) -> pl.Expr:
    """Tell which rows have a value of a dimension (or of a column): never null.

    Examples
    --------
    >>> rows = pl.DataFrame({"x_team": ["ads", "unallocated", None], "Tags": ["{}", None, '{"a": "b"}']})
    >>> rows.select(valued("team"), valued("Tags")).rows()
    [(True, False), (False, False), (False, True)]
    """
    column = pl.col(f"x_{dimension}" if dimension in DIMENSIONS else dimension)
    if dimension == "team":
        return column.is_not_null() & column.ne_missing(UNALLOCATED)
    if dimension == "Tags":
        return column.is_not_null() & ~column.str.replace_all(r"\s", "").is_in(["", "{}"])
    return column.is_not_null()


def only(dimensions: Dimensions, names: Iterable[str]) -> Dimensions:
    """Return the rules of some dimensions and of those they take values from: others cost nothing.

    Examples
    --------
    >>> rules = Dimensions.model_validate({
    ...     "team": [{"name": "by feature", "dimension": "feature"}],
    ...     "feature": [{"name": "tag", "tag": "feature"}], "model": [{"name": "m", "tag": "model"}]})
    >>> kept = only(rules, ["team"])
    >>> len(kept.team), len(kept.feature), len(kept.model)
    (1, 1, 0)
    """
    waiting, kept = list(names), {}
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = getattr(dimensions, name)
            waiting += [source for rule in kept[name] for source in rule.looks_at()]
    return Dimensions.model_validate(kept)


def dated(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Add the day of use, ``x_ChargeDate``, to bill rows: rules may hold for some days only."""
    known = frame.collect_schema()
    if "x_ChargeDate" in known or "ChargePeriodStart" not in known:
        return frame
    return frame.with_columns(pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate"))


def row_count(frame: pl.LazyFrame) -> pl.Expr:
    """Return the bill rows that a row stands for: ``x_Rows``, or one."""
    there = "x_Rows" in frame.collect_schema()
    return pl.col("x_Rows").cast(pl.Int64) if there else pl.lit(1, pl.Int64)


def require(frame: pl.LazyFrame, names: Iterable[str], metric: str) -> None:
    """Refuse a frame without the columns that are needed, or whose money is not exact.

    Raises
    ------
    InputError
        Naming the column, and one of a similar name.
    """
    known = frame.collect_schema()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, [*known.names(), *DIMENSIONS], n=1)
            hint = f"did you mean {close[0]!r}?" if close else None
            if name.removeprefix("x_") in DIMENSIONS:
                hint = "give ledger entries, or bill rows with dimensions= (the rules of finops.toml)"
            raise InputError(f"there is no column {name!r} to look at", hint=hint)
    if not isinstance(known[metric], pl.Decimal):
        raise InputError(f"{metric} is {known[metric]}: amounts must be Decimal to be exact", column=metric)
