"""What tokens cost on machines of one's own, at the utilization they have and at another."""

from __future__ import annotations

from decimal import Decimal, localcontext

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided

__all__ = ["HOSTED", "moved", "self_hosted"]

_MTOK = 1_000_000
_Schema = dict[str, pl.DataType | type[pl.DataType]]
HOSTED: _Schema = {
    "model": pl.String,
    "currency": pl.String,
    "money": MONEY,
    "tokens": MONEY,
    "gpu_hours": MONEY,
    "utilization": MONEY,
    "money_per_mtok": MONEY,
    "money_per_gpu_hour": MONEY,
    "tokens_per_gpu_hour": MONEY,
    "at_utilization": MONEY,
    "money_at": MONEY,
    "money_per_mtok_at": MONEY,
    "reason": pl.String,
}


def self_hosted(rows: pl.DataFrame, *, at: Decimal | None = None) -> pl.DataFrame:
    """Divide what serving a model cost by the tokens it served.

    Parameters
    ----------
    rows : polars.DataFrame
        Per ``model``: ``currency``, ``money`` (Decimal, what its machines cost in the time),
        ``tokens`` (whole number or Decimal, all it read and wrote), and where known ``gpu_hours``
        paid for and ``utilization`` (Decimal, 0 to 1: share of GPU time in use).
    at : Decimal, optional
        What if the machines were in use so much: the same tokens need as much time in use, so the
        time paid for, and the money, is ``utilization`` / `at` of what it was.

    Returns
    -------
    polars.DataFrame
        `HOSTED`, in the order of the rows: ``money_per_mtok`` (per million tokens), `money_per_gpu_hour`,
        ``tokens_per_gpu_hour``; with `at` also ``money_at`` and ``money_per_mtok_at``. Null where
        something is not known: ``reason`` says what.

    Raises
    ------
    InputError
        `at` is not above 0 and at most 1, or a column is missing.

    Examples
    --------
    >>> pool = pl.DataFrame({"model": ["m"], "currency": ["USD"], "money": [Decimal(60)],
    ...     "tokens": [Decimal(20_000_000)], "gpu_hours": [Decimal(30)], "utilization": [Decimal("0.4")]})
    >>> found = self_hosted(pool, at=Decimal("0.8"))
    >>> found.select(pl.col("money_per_mtok", "money_per_gpu_hour", "money_per_mtok_at").cast(pl.Float64)).row(0)
    (3.0, 2.0, 1.5)
    """
    if at is not None and not 0 < at <= 1:
        raise InputError(f"a utilization is above 0 and at most 1, not {at}", hint="write 0.6 for 60 %")
    for name in ("model", "currency", "money", "tokens"):
        if name not in rows.columns:
            raise InputError("the rows have no such column", column=name)
    told = []
    for row in rows.to_dicts():
        money, tokens = row["money"], row["tokens"]
        hours, busy = row.get("gpu_hours"), row.get("utilization")
        reason = (
            "no money is known of its machines"
            if money is None
            else "no tokens are known that it served"
            if not tokens
            else "its utilization is not known"
            if at is not None and not busy
            else None
        )
        whole = _times(money, busy, at) if at is not None and busy and money is not None else None
        told.append(
            {name: row[name] for name in ("model", "currency", "money", "tokens")}
            | {
                "gpu_hours": hours,
                "utilization": busy,
                "money_per_mtok": divided(money, tokens, _MTOK),
                "money_per_gpu_hour": divided(money, hours),
                "tokens_per_gpu_hour": divided(tokens, hours),
                "at_utilization": at,
                "money_at": whole,
                "money_per_mtok_at": divided(whole, tokens, _MTOK),
                "reason": reason,
            }
        )
    return pl.DataFrame(told, schema=HOSTED)


def moved(mix: pl.DataFrame, hosted: pl.DataFrame, model: str) -> pl.DataFrame:
    """Tell what tokens would cost on a model that is served on machines of one's own.

    Parameters
    ----------
    mix : polars.DataFrame
        Rows with ``tokens`` (Decimal) and any keys.
    hosted : polars.DataFrame
        From `self_hosted`.
    model : str
        The model to move them to.

    Returns
    -------
    polars.DataFrame
        The mix with ``money`` = tokens x money per million tokens of the model, at the utilization it
        has, and ``money_at`` at the other one (Decimal; null where the rate is not known). A token is
        a token: neither the share of output nor whether the model can do the work is judged.

    Raises
    ------
    InputError
        The model is not among those served.

    Examples
    --------
    >>> pool = pl.DataFrame({"model": ["m"], "currency": ["USD"], "money": [Decimal(60)],
    ...     "tokens": [Decimal(20_000_000)]})
    >>> mix = pl.DataFrame({"feature": ["chat"], "tokens": [Decimal(5_000_000)]})
    >>> int(moved(mix, self_hosted(pool), "m")["money"][0])
    15
    """
    found = hosted.filter(pl.col("model") == model)
    if found.height != 1:
        names = ", ".join(hosted["model"].drop_nulls()) or "none"
        raise InputError(f"no model {model!r} is served on machines of one's own", hint=f"there are: {names}")
    row = found.row(0, named=True)
    columns = {
        name: [_times(whole, tokens, row["tokens"]) for tokens in mix["tokens"]]
        for name, whole in (("money", row["money"]), ("money_at", row["money_at"]))
    }
    return mix.with_columns(pl.Series(name, values, MONEY) for name, values in columns.items())


def _times(whole: Decimal | None, part: Decimal | None, of: Decimal | None) -> Decimal | None:
    if whole is None or part is None:
        return None
    with localcontext(prec=120):
        return divided(whole * part, of)
