"""Does a file keep what FOCUS 1.2 asks? The checks of focus-validator that look at one table.

A port of the static rules of the requirements model 1.2.0.1 on presence, types, formats, nulls,
allowed values and one-to-one names (`_focus_rules`). Every row is looked at by itself, and a null
``ChargeClass`` is no correction: the validator passes nonsense beside one good value, and never
carries out a rule that corrections are exempt from. Not ported: rules that it leaves to people,
those that multiply prices or compare a provider with its invoicing company (``AWS`` is not ``Amazon
Web Services, Inc.``), an ``EffectiveCost`` of 0 for every purchase, and an ``InvoiceId`` that must
and must not be null. No check tells whether a bill is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import polars as pl

from finops_lab.exporting._focus_rules import RULES, SUBCATEGORIES, VALUES, Rule
from finops_lab.money import MONEY

__all__ = ["conformance"]

# Rows, the first of them and the value there.
_Found = tuple[int, int | None, str | None]
_NOTHING: _Found = (0, None, None)
_ROWS = 100_000

# How a file is written is ours; what a bill says, or leaves out, is its source's.
_OURS = frozenset({"here", "text", "decimal", "moment", "numeric"})

_NUMBER = r"^[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$"
_WHOLE_SECOND = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
_WORDS = r"[A-Za-z][A-Za-z0-9]*(?: +[A-Za-z][A-Za-z0-9]*)*"
_TIME = "(?:Year|Month|Day|Hour|Minute|Second)"
_UNIT = rf"^(?:(?:[0-9]+ )?{_WORDS}|{_WORDS}-{_TIME}s|{_WORDS}/{_TIME}|{_WORDS}/[0-9]+ {_TIME}s)$"

_SAYS = {
    "here": "the column is there",
    "text": "is text",
    "decimal": "is a decimal number",
    "moment": "is a point in time in UTC",
    "numeric": "is plain digits or scientific notation",
    "datetime": "is written in whole seconds, as 2026-09-01T00:00:00Z",
    "ascii": "is plain ASCII (asked by the validator, not by the specification's text)",
    "unit": "is a unit such as Hours, GB-Hours, GB/Hour or 1000 Requests",
    "pairs": "is a JSON object of plain values, no key twice",
    "currency": "is a three-letter code (the specification also lets credits and tokens be priced in)",
    "national": "is a national currency",
    "filled": "has a value",
    "empty": "has no value",
    "among": "is one of the allowed values",
    "bought": "is not Usage-Based",
    "within": "belongs to the row's ServiceCategory",
    "least0": "is not negative",
}
_WHERES = {
    "tax": "in tax",
    "purchase": "in purchases",
    "priced": "in usage and purchases, corrections aside",
    "consumed": "in usage, unused commitments and corrections aside",
    "unconsumed": "outside usage, and in unused commitments",
    "covered": "in usage under a commitment",
    "committed": "in usage and purchases of a commitment, corrections aside",
    "uncommitted": "without a commitment, and outside usage and purchases",
    "reserved": "in usage of a reservation",
    "idle": "in unused reservations",
}


def conformance(frame: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Check a FOCUS 1.2 table: one row per rule, with the rows that break it.

    Parameters
    ----------
    frame : polars.LazyFrame or polars.DataFrame
        What `focus` returns, or a file as `scan_focus` reads it (then text is checked as text).

    Returns
    -------
    polars.DataFrame
        ``rule`` (the model's number), ``column``, ``level`` (``MUST`` or ``SHOULD``),
        ``requirement`` in our words, ``needs`` (the applicability criterion that a provider must
        meet for the rule to bind; null: always), ``whose`` (``ours``: how the file is written;
        ``the source's``: what the bill says or lacks), ``rows`` that break it, ``first_row`` of
        them, from 1, and an ``example`` of the value (null where a value is missing). Rules on a
        column that is absent are not carried out, its absence is told.
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    textual = all(dtype in (pl.String, pl.Null) for dtype in schema.values())
    rules = [rule for rule in RULES if rule.check == "here" or rule.column in schema]
    bad = {
        rule.id: _breaks(rule, schema[rule.column], textual)
        for rule in rules
        if rule.check != "here" and not rule.check.startswith("one-")
    }
    found = dict.fromkeys((rule.id for rule in rules), _NOTHING)
    names: dict[str, list[pl.DataFrame]] = {rule.id: [] for rule in rules if rule.check.startswith("one-")}
    read = 0
    # Batch by batch: as one query, 250 sums and their examples hold the whole table.
    for batch in lazy.collect_batches(chunk_size=_ROWS, maintain_order=True):
        here = _completed(batch)
        counts = here.select(expr.sum().alias(rule) for rule, expr in bad.items()).row(0, named=True)
        broken = [rule for rule in rules if counts.get(rule.id)]
        shown = here.select(
            part
            for rule in broken
            for part in (
                bad[rule.id].arg_max().alias(rule.id),
                pl.col(rule.column).filter(bad[rule.id]).first().cast(pl.String).alias(f"{rule.id} value"),
            )
        )
        for rule in broken:
            first = (0, read + 1 + shown[rule.id][0], shown[f"{rule.id} value"][0])
            rows, *example = found[rule.id] if found[rule.id][0] else first
            found[rule.id] = (rows + counts[rule.id], *example)
        for rule in rules:
            if rule.id in names:
                names[rule.id].append(_pairings(here, rule, read))
        read += batch.height
    # The batches end without an error when one of polars' threads panics.
    if read != lazy.select(pl.len()).collect().item():
        raise pl.exceptions.ComputeError("a value of a kind that polars cannot handle")
    for rule in rules:
        if rule.check == "here" and rule.column not in schema:
            found[rule.id] = (max(read, 1), None, None)
        elif rule.id in names:
            found[rule.id] = _several(names[rule.id])
    return pl.DataFrame(
        [
            (
                rule.id,
                rule.column,
                "MUST" if rule.must else "SHOULD",
                _requirement(rule),
                rule.needs or None,
                "ours" if rule.check in _OURS else "the source's",
                *found[rule.id],
            )
            for rule in rules
        ],
        schema={
            "rule": pl.String,
            "column": pl.String,
            "level": pl.String,
            "requirement": pl.String,
            "needs": pl.String,
            "whose": pl.String,
            "rows": pl.Int64,
            "first_row": pl.Int64,
            "example": pl.String,
        },
        orient="row",
    )


def _completed(batch: pl.DataFrame) -> pl.DataFrame:
    """Add the columns that rules look at and the table lacks."""
    absent = [rule.column for rule in RULES if rule.check == "here" and rule.column not in batch.columns]
    return batch.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent)


def _requirement(rule: Rule) -> str:
    kind, _, other = rule.check.partition("-")
    if kind == "one":
        return f"has one {other}, not several"
    said = _SAYS[rule.check]
    if rule.where.startswith(("no-", "has-")):
        has, _, other = rule.where.partition("-")
        return f"{said} where {other} has {'one' if has == 'has' else 'none'}"
    return f"{said} {_WHERES[rule.where]}" if rule.where else said


def _where(name: str) -> pl.Expr:
    """Return the rows that a rule is about, as an expression that is never null."""
    if name == "":
        return pl.lit(True)
    if name.startswith(("no-", "has-")):
        kind, _, other = name.partition("-")
        return ~_missing(other) if kind == "has" else _missing(other)
    category, bill = pl.col("ChargeCategory"), pl.col("ChargeClass")
    correction = bill.eq_missing(pl.lit("Correction"))
    usage = category.eq_missing(pl.lit("Usage"))
    purchase = category.eq_missing(pl.lit("Purchase"))
    unused = pl.col("CommitmentDiscountStatus").eq_missing(pl.lit("Unused"))
    commitment = ~_missing("CommitmentDiscountId")
    idle = pl.col("CapacityReservationStatus").eq_missing(pl.lit("Unused"))
    known: Mapping[str, pl.Expr] = {
        "tax": category.eq_missing(pl.lit("Tax")),
        "purchase": purchase,
        "priced": (usage | purchase) & ~correction,
        "consumed": usage & ~unused & ~correction,
        "unconsumed": ~usage | unused,
        "covered": usage & commitment,
        "committed": (usage | purchase) & commitment & ~correction,
        "uncommitted": ~((usage | purchase) & commitment),
        "reserved": usage & ~_missing("CapacityReservationId"),
        "idle": idle,
    }
    return known[name]


def _missing(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).cast(pl.String) == "")


def _breaks(rule: Rule, dtype: pl.DataType, textual: bool) -> pl.Expr:
    """Return which rows break a rule, as an expression that is never null."""
    there = ~_missing(rule.column)
    return (_where(rule.where) & _fault(rule, dtype, textual, there)).fill_null(False)


def _fault(rule: Rule, dtype: pl.DataType, textual: bool, there: pl.Expr) -> pl.Expr:
    column = pl.col(rule.column)
    text = column.cast(pl.String)
    match rule.check:
        case "filled":
            return ~there
        case "empty":
            return there
        case "text":
            return there & pl.lit(dtype not in (pl.String, pl.Null))
        case "decimal":
            return there & (~text.str.contains(_NUMBER) if textual else pl.lit(not dtype.is_numeric()))
        case "numeric":
            return there & (~column.is_finite() if dtype.is_float() else ~text.str.contains(_NUMBER))
        case "moment":
            utc = isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC"
            return there & (~text.str.contains(_MOMENT) if textual else pl.lit(not utc))
        case "datetime":
            # Parquet stores moments, and has no spelling of them.
            return there & (~text.str.contains(_WHOLE_SECOND) if dtype == pl.String else pl.lit(False))
        case "ascii":
            return there & text.str.contains(r"[^\x00-\x7F]")
        case "unit":
            return there & ~text.str.contains(_UNIT)
        case "currency":
            return there & ~text.str.contains("^[A-Z]{3}$")
        case "national":
            from babel.numbers import list_currencies

            return there & ~text.is_in(sorted(list_currencies()))
        case "among":
            return there & ~text.is_in(list(VALUES[rule.column]))
        case "bought":
            return text == "Usage-Based"
        case "within":
            parents = {sub: parent for parent, subs in SUBCATEGORIES.items() for sub in subs}
            parent = text.replace_strict(parents, default=None, return_dtype=pl.String)
            return parent.is_not_null() & parent.ne_missing(pl.col("ServiceCategory").cast(pl.String))
        case "least0":
            return column.cast(MONEY, strict=False) < 0
        case "pairs":
            return there & ~text.map_batches(_pairs, return_dtype=pl.Boolean, is_elementwise=True)
        case _:
            raise AssertionError(rule)


def _pairs(texts: pl.Series) -> pl.Series:
    distinct = texts.unique()
    found = pl.DataFrame({"text": distinct, "good": [_is_pairs(t) for t in distinct.to_list()]})
    joined = (
        texts.alias("text")
        .to_frame()
        .join(found, on="text", how="left", maintain_order="left", nulls_equal=True)
    )
    return joined["good"].alias(texts.name)


def _is_pairs(text: str | None) -> bool:
    if text is None:
        return True

    def plain(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in pairs}) < len(pairs) or any(isinstance(v, dict | list) for _, v in pairs):
            raise ValueError
        return dict(pairs)

    try:
        return isinstance(json.loads(text, object_pairs_hook=plain), dict)
    except (ValueError, RecursionError):  # no JSON, or a bomb
        return False


def _pairings(batch: pl.DataFrame, rule: Rule, before: int) -> pl.DataFrame:
    """Return which names go with which values of another column, how often and from which row."""
    other = rule.check.removeprefix("one-")
    return (
        batch.with_row_index("row", before + 1)
        .filter(~_missing(rule.column))
        .group_by(
            pl.col(rule.column).cast(pl.String).alias("name"), pl.col(other).cast(pl.String).alias("value")
        )
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("row").min().cast(pl.Int64))
    )


def _several(pairings: Sequence[pl.DataFrame]) -> _Found:
    """Count the rows whose name goes with several values of the other column."""
    if not pairings:
        return _NOTHING
    names = (
        pl.concat(pairings)
        .group_by("name")
        .agg(pl.col("value").drop_nulls().n_unique(), pl.col("rows").sum(), pl.col("row").min())
        .filter(pl.col("value") > 1)
        .sort("row")
    )
    return (int(names["rows"].sum()), names["row"][0], names["name"][0]) if names.height else _NOTHING
