"""Numbers for what many rows have in common, so that rows are grouped by few numbers, not many texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

__all__ = ["CODE", "Codes", "codes", "of_rows"]

CODE = "_code"
# An odd multiplier, so that no bit is lost (Knuth's, of the linear congruential generator MMIX).
_SPREAD = 6364136223846793005
_SEEDS = 100
_HASHED = (pl.String, pl.Date, pl.Datetime, pl.Boolean, pl.Int32, pl.Int64, pl.UInt64)


@dataclass(frozen=True)
class Codes:
    """What some columns of a frame hold.

    Attributes
    ----------
    values : polars.DataFrame
        Each combination of values once, sorted (null last), with ``_code`` (UInt64).
    code : polars.Expr
        The code of a row. No two combinations of the frame share one.
    """

    values: pl.DataFrame
    code: pl.Expr


def codes(frame: pl.LazyFrame, sets: Sequence[Sequence[str]]) -> list[Codes]:
    """Give every combination that some sets of columns hold a code.

    Codes are hashes: a row's code costs a fraction of what it costs to group rows by the columns
    themselves. They are no guess: all combinations are known, and codes that collide are not used.

    Parameters
    ----------
    frame : polars.LazyFrame
        Rows.
    sets : sequence of sequences of str
        The columns of each set.

    Examples
    --------
    >>> rows = pl.LazyFrame({"team": ["b", None, "b"], "model": ["x", "x", "x"]})
    >>> found = codes(rows, [["team", "model"]])[0]
    >>> found.values["team"].to_list(), rows.select(found.code.n_unique()).collect().item()
    (['b', None], 2)
    """
    # One after the other: all at once would hold the whole scan, which they have in common, and take longer.
    found = [frame.select(names).unique().collect(engine="streaming") for names in sets]
    return [
        _coded(each.sort(names, nulls_last=True), of_rows(each.schema, names))
        for each, names in zip(found, sets, strict=True)
    ]


def of_rows(schema: Mapping[str, pl.DataType], names: Sequence[str], seed: int = 0) -> pl.Expr:
    """Return the hash of a row's columns: of another row with the same values it is the same."""
    code = pl.lit(seed, dtype=pl.UInt64)
    for place, name in enumerate(names):
        value, dtype = pl.col(name), schema[name]
        if dtype.is_float():
            value = pl.when(value == 0).then(0.0).otherwise(value)  # -0.0 is 0.0, and has another text
        if dtype not in _HASHED:
            value = value.cast(pl.String)
        code = (code * pl.lit(_SPREAD, dtype=pl.UInt64)) ^ value.hash(seed + place)
    return code.alias(CODE)


def _coded(values: pl.DataFrame, code: pl.Expr) -> Codes:
    names = values.columns
    for seed in range(0, _SEEDS * len(names), len(names)):
        code = of_rows(values.schema, names, seed)
        coded = values.with_columns(code)
        if coded[CODE].n_unique() == coded.height:
            return Codes(coded, code)
    raise AssertionError(f"no code tells all values of {', '.join(names)} apart")
