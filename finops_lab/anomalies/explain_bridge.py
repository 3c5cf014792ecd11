"""Volume, price, mix, retries or cache: what changed the spend of a slice, in terms that add up exactly.

Calls tell most: they go through the bridge of the unit economics, the event as its later month and the
mean of the spans before as the earlier one. Without calls the bill's own quantities, or any counted use,
tell volume, mix and price. Where nothing is measured the whole change says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from finops_lab.anomalies.attribution import SPAN
from finops_lab.errors import InputError
from finops_lab.money import MONEY, exact_sum
from finops_lab.unit_economics.bridge_terms import TERMS, rounded

__all__ = ["BRIDGE", "Side", "bridge_by_use", "bridge_frame", "not_measured", "scale_of"]

BRIDGE: dict[str, pl.DataType | type[pl.DataType]] = {
    "order": pl.Int64,
    "term": pl.String,
    "label": pl.String,
    "words": pl.String,
    "amount": MONEY,
    "share": pl.Float64,
    "basis": pl.String,
}
USE_TERMS: dict[str, tuple[str, str]] = {
    "volume": ("Volume", "more or less use, at the mix and the prices before"),
    "mix": ("Mix", "use moved to dearer or cheaper kinds"),
    "price": ("Price", "what a unit of use cost, at the volume and mix of the event"),
    "new": ("New use", "kinds of use that were not there before"),
    "vanished": ("Vanished use", "kinds of use that are no longer there"),
    "not_measured": TERMS["not_measured"],
}
# What tells kinds of use apart on a bill.
_KINDS = ("SkuId", "SkuMeter", "x_InstanceType", "RegionId", "PricingCategory", "CommitmentDiscountStatus")
_ZERO = Fraction(0)


@dataclass(frozen=True)
class Side:
    """A slice's money in the event and before, and how many spans the mean is of.

    Attributes
    ----------
    actual, expected : Decimal
        Of the slice.
    spans : tuple of int
        Spans of the baseline.
    """

    actual: Decimal
    expected: Decimal
    spans: tuple[int, ...]

    @property
    def excess(self) -> Decimal:
        """Actual less expected."""
        return exact_sum([self.actual, self.expected.copy_negate()])


def not_measured(side: Side) -> pl.DataFrame:
    """Return the bridge of a slice of which nothing but money is known.

    Examples
    --------
    >>> not_measured(Side(Decimal(5), Decimal(2), (1,))).select("term", "share").rows()
    [('not_measured', 1.0)]
    """
    return bridge_frame({"not_measured": side.excess}, USE_TERMS, side.excess, "nothing")


def bridge_frame(
    terms: Mapping[str, Decimal], words: Mapping[str, tuple[str, str]], change: Decimal, basis: str
) -> pl.DataFrame:
    """Return terms as `BRIDGE`, with their share of the change."""
    rows = [
        (n, name, *words[name], amount, float(amount / change) if change else None, basis)
        for n, (name, amount) in enumerate(terms.items(), 1)
    ]
    return pl.DataFrame(rows, schema=BRIDGE, orient="row")


def bridge_by_use(
    rows: pl.DataFrame | pl.LazyFrame,
    side: Side,
    *,
    amount: str | None,
    quantity: str = "ConsumedQuantity",
    unit: str = "ConsumedUnit",
    kinds: Sequence[str] = _KINDS,
    basis: str = "quantities of the bill",
) -> pl.DataFrame | None:
    """Split a slice's change into volume, mix and price by counted use.

    Parameters
    ----------
    rows : polars.DataFrame or polars.LazyFrame
        Entries of the slice with ``_span``, `quantity` and `unit`.
    side : Side
        Of the slice.
    amount : str, optional
        Column of their money; without it all of the slice's money is paid for all of the use.
    quantity, unit : str
        How much was used, and of what.
    kinds : sequence of str
        Columns, as far as there are any, that tell kinds of use apart.
    basis : str
        What the frame says of where the use is from.

    Returns
    -------
    polars.DataFrame or None
        `BRIDGE`, terms that are zero left out; amounts add up to the slice's excess exactly. None
        where no use is known.

    Raises
    ------
    InputError
        Without `amount`, use in several units.

    Notes
    -----
    A kind's spend is quantity x price. With Q the use of all kinds of one unit, volume is what the
    kind would cost had its use changed as Q did, mix is the rest of its change of use at the price
    before, price the rest (Laspeyres volume, Paasche price). Exact fractions, rounded once.

    Examples
    --------
    >>> rows = pl.DataFrame({"_span": [1, 0], "SkuId": "gpu", "ConsumedUnit": "Hours",
    ...     "ConsumedQuantity": [10, 30], "EffectiveCost": [20, 75]})
    >>> found = bridge_by_use(rows, Side(Decimal(75), Decimal(20), (1,)), amount="EffectiveCost")
    >>> found.select("term", pl.col("amount").cast(pl.Int64)).rows()
    [('volume', 40), ('price', 15)]
    """
    frame = rows.lazy()
    names = frame.collect_schema().names()
    if quantity not in names or unit not in names or not side.spans:
        return None
    keys = [unit, *(name for name in kinds if name in names and amount is not None)]
    money = pl.col(amount).cast(MONEY) if amount else pl.lit(0).cast(MONEY)
    sums = (
        frame.filter(pl.col(SPAN).is_in([0, *side.spans]))
        .group_by((pl.col(SPAN) == 0).alias("now"), *keys)
        .agg(
            money.sum().alias("money"),
            pl.col(quantity).cast(MONEY).sum(),
            pl.col(quantity).count().alias("told"),
        )
        .collect()
    )
    cells: dict[tuple[Any, ...], dict[bool, tuple[Fraction, Fraction]]] = {}
    for now, *key, spent, used, told in sums.iter_rows():
        cells.setdefault(tuple(key), {})[now] = (Fraction(spent), Fraction(used) if told else _ZERO)
    if amount is None:
        if len(cells) > 1:
            raise InputError("use without money must be of one unit", column=unit)
        cells = {key: _all_money(sides, side) for key, sides in cells.items()}
    known = {now: any(sides.get(now, (_ZERO, _ZERO))[1] for sides in cells.values()) for now in (True, False)}
    scale = scale_of(side, [sides.get(False, (_ZERO, _ZERO))[0] for sides in cells.values()])
    if not any(known.values()) or scale is None:
        return None
    terms = _use_terms(cells, scale)
    exact = rounded(list(terms.values()), side.excess)
    return bridge_frame(
        {name: one for name, one in zip(terms, exact, strict=True) if one}, USE_TERMS, side.excess, basis
    )


def _all_money(
    sides: Mapping[bool, tuple[Fraction, Fraction]], side: Side
) -> dict[bool, tuple[Fraction, Fraction]]:
    paid = {True: Fraction(side.actual), False: Fraction(side.expected) * len(side.spans)}
    return {now: (paid[now], sides.get(now, (_ZERO, _ZERO))[1]) for now in (True, False)}


def scale_of(side: Side, sums: Sequence[Fraction]) -> Fraction | None:
    """Return what makes the sums of all spans the slice's expectation; None where nothing can."""
    whole = sum(sums, _ZERO)
    if not whole:
        return None if side.expected else Fraction(1, len(side.spans))
    return Fraction(side.expected) / whole


def _use_terms(
    cells: Mapping[tuple[Any, ...], Mapping[bool, tuple[Fraction, Fraction]]], scale: Fraction
) -> dict[str, Fraction]:
    terms = dict.fromkeys(USE_TERMS, _ZERO)
    both: list[tuple[str, Fraction, Fraction, Fraction, Fraction]] = []
    for key, sides in cells.items():
        (before, used), (now, uses) = (sides.get(at, (_ZERO, _ZERO)) for at in (False, True))
        before, used = before * scale, used * scale
        if used and uses:
            both.append((str(key[0]), before, used, now, uses))
        elif uses and not before:
            terms["new"] += now
        elif used and not now:
            terms["vanished"] -= before
        else:
            terms["not_measured"] += now - before
    for unit in {one[0] for one in both}:
        of_unit = [one for one in both if one[0] == unit]
        factor = sum((one[4] for one in of_unit), _ZERO) / sum((one[2] for one in of_unit), _ZERO)
        for _, before, used, now, uses in of_unit:
            at_price = before / used * uses
            terms["volume"] += before * (factor - 1)
            terms["mix"] += at_price - before * factor
            terms["price"] += now - at_price
    return terms
