"""The bridge between two months of AI spend: volume, mix, price, cache and what else changed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.calendar import days_in_month, format_month, parse_month
from finops_lab.errors import InputError
from finops_lab.money import exact_sum
from finops_lab.unit_economics.bridge_cells import cells
from finops_lab.unit_economics.bridge_frames import (
    cell_frame,
    driver_frame,
    price_error,
    step_frame,
    term_frame,
)
from finops_lab.unit_economics.bridge_split import spend, split_cells
from finops_lab.unit_economics.bridge_terms import Method
from finops_lab.unit_economics.bridge_weights import read_weights

__all__ = ["Bridge", "bridge"]


@dataclass(frozen=True)
class Bridge:
    """Why AI spend changed from one month to another; the terms add up to the change exactly.

    Attributes
    ----------
    first, last : datetime.date
        The two months; ``first`` is the one that the change is counted from.
    currency, metric : str
        Currency and money column of all amounts.
    start, end : Decimal
        Spend of the two months.
    terms : polars.DataFrame
        One row per term of `finops_lab.unit_economics.bridge_terms.TERMS`, in their order:
        ``order`` (Int64), ``term``, ``label``, ``words`` (String), ``amount`` (Decimal),
        ``share_of_change`` (Float64, null where nothing changed), ``standard_error`` (Float64, of
        the price alone, null where sampling errors are not known: as much may belong to volume).
    cells : polars.DataFrame
        Per ``model`` and ``variant``, nulls last: ``status`` (``both``, ``new``, ``vanished``,
        ``not measured``, ``not on the bill`` or ``charges only``), ``start``, ``end`` and a column
        per term (Decimal). A row's terms add up to its change, a column to its term.
    drivers : polars.DataFrame
        What the terms of cells were worked out from: ``model``, ``variant``, ``driver``, ``unit``,
        ``start``, ``end`` (Decimal, null where undefined).
    steps : polars.DataFrame
        The waterfall: ``label``, ``kind`` (``cause``, ``unexplained`` for what is not measured,
        ``total`` for the whole change), ``amount``, ``start`` and ``end`` (Decimal), counted from
        the spend of ``first``.
    up_to : int, optional
        The last day of the month that counts, in both, where one of them is not over.
    """

    first: date
    last: date
    currency: str
    metric: str
    start: Decimal
    end: Decimal
    terms: pl.DataFrame
    cells: pl.DataFrame
    drivers: pl.DataFrame
    steps: pl.DataFrame
    up_to: int | None = None

    @property
    def change(self) -> Decimal:
        """Spend of the later month less that of the month before."""
        return exact_sum([self.end, self.start.copy_negate()])

    def __repr__(self) -> str:
        known = f", days 1 to {self.up_to}" if self.up_to else ""
        return (
            f"Bridge({format_month(self.first)} to {format_month(self.last)}{known}: {self.start:.2f} to "
            f"{self.end:.2f} {self.currency}, residual 0; .terms .cells .drivers .steps)"
        )


def bridge(
    entries: pl.LazyFrame | pl.DataFrame,
    calls: pl.LazyFrame | pl.DataFrame,
    first: str | date,
    last: str | date,
    *,
    where: Mapping[str, str | Sequence[str]] | None = None,
    metric: str = "EffectiveCost",
    weights: pl.LazyFrame | pl.DataFrame | None = None,
    method: Method = "sequential",
    errors: pl.LazyFrame | pl.DataFrame | None = None,
    up_to: int | None = None,
) -> Bridge:
    """Split the change of AI spend between two months into its causes, exactly.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Entries of the `ledger` contract in one currency, those that count as AI spend. With
        ``x_Activity`` training and other activities are terms of their own.
    calls : polars.LazyFrame or polars.DataFrame
        Calls and tokens by month: `finops_lab.unit_economics.schemas.REQUEST_MONTHS`.
    first, last : str or datetime.date
        The month that the change is counted from, and the other: any two.
    where : mapping, optional
        Only these: values, or ``~patterns``, of ``team``, ``feature``, ``model``, ``variant``,
        ``customer``, ``environment`` or ``region``, the same in both frames.
    metric : str
        Money column of the entries.
    weights : polars.LazyFrame or polars.DataFrame, optional
        What a token weighs: ``model``, ``variant`` (may be null or absent: all variants),
        ``input``, ``cache_read``, ``cache_write``, ``output`` (Decimal), such as
        `finops_lab.unit_economics.bridge_weights.price_weights`. Models without weights have
        input 1, cache read 0.1, cache write 1, output 4.
    method : {"sequential", "shapley"}
        Whether one factor is changed after the other, or all orders are averaged.
    errors : polars.LazyFrame or polars.DataFrame, optional
        What `finops_lab.unit_economics.bridge_errors.sampling_errors` says of the calls, where they
        were sampled.
    up_to : int, optional
        The last day of the month that entries and calls are of, in both months, where one of them is
        not over; all days by default.

    Returns
    -------
    Bridge

    Raises
    ------
    NoDataError
        No entry in either month.
    CurrencyError
        Entries in several currencies.
    InputError
        The same month twice, an unknown dimension or metric, a missing column, entries that do not
        tell the metric, bad weights.
    ReconciliationError
        When the terms do not add up: a defect, never a fault of the data.

    Notes
    -----
    *Cells.* A cell is a variant of a model; a model of which only the bill or only telemetry knows
    variants is one cell. A cell with calls and spend in both months is a product::

        spend = days x requests a day x share of the model x share of the variant
                x calls per request x weighted tokens per call x price per weighted token

        weighted tokens per call = input x (w_input x uncached + w_read x read + w_write x written)
                                   + output x w_output

    Requests are calls that repeat no failed one; shares are of the requests of all such cells;
    uncached, read and written are the shares of the input. A failed call that nobody repeats is a
    request as well. The sequential method changes the factors in this order, the cache's shares
    after the tokens, so volume is valued at the earlier prices and price at the later volume and
    mix (Laspeyres and Paasche). Sequential and Shapley leave no rest; the sequential one depends
    on its order, which Dietzenbacher and Los, "Structural decomposition techniques: sense and
    sensitivity", Economic Systems Research 10 (1998), discuss; Shapley's mean over all orders is
    Albrecht, Francois and Schoors, "A Shapley decomposition of carbon emissions without
    residuals", Energy Policy 30 (2002). Compare the two to see how much the order decides.

    *Price* is spend per weighted token. With the prices of the earlier month as weights it is
    tokens of the later month x change of price, and the cache term is what another cache-hit rate
    did at the earlier prices. With other weights a change of the token mix moves a little between
    price, tokens and cache; the sum stays exact. Whatever telemetry misses in one month and sees
    in the other, or samples by chance, looks like volume and, with the other sign, like price: see
    ``standard_error``.
    What commitments took off the price (spend less contracted cost of what they covered) changes
    the term ``commitments``, not the price.

    *Not products.* A cell without calls before and after is ``not_measured``, as are entries
    without a model and dark spend; so is one that has spend in both months and calls in one. Calls
    and spend that begin are ``new``, those that end ``vanished``. Spend that begins or ends at
    zero while calls go on is a price change. Where the tokens of a month are unknown, calls count
    alike: a price is then per call. Where all calls repeat others, none count as repeats. Models
    that telemetry counts and the bill does not name are listed (``not on the bill``), their calls
    are in no share.

    *Other kinds* of entries change by their amounts: credits, corrections and adjustments, tax,
    unused commitments and purchases, idle capacity, training, other activities, in this order.

    Amounts are exact fractions until each cell's terms are rounded to 18 decimals by the largest
    remainder.

    Examples
    --------
    >>> from finops_lab.money import MONEY
    >>> from finops_lab.unit_economics.schemas import REQUEST_MONTHS
    >>> ledger = pl.DataFrame(
    ...     [{"x_ChargeMonth": month, "BillingCurrency": "USD", "ChargeCategory": "Usage",
    ...       "x_AllocationMethod": "tag", "x_model": "m", "EffectiveCost": cost}
    ...      for month, cost in (("2026-07", "10"), ("2026-08", "24"))],
    ...     schema_overrides={"EffectiveCost": pl.String}).with_columns(
    ...     pl.col("EffectiveCost").cast(MONEY), *[pl.lit(None, pl.String).alias(n)
    ...     for n in ("ChargeClass", "CommitmentDiscountStatus", "x_variant")])
    >>> calls = pl.DataFrame([{"month": date(2026, m, 1), "model": "m", "rows": n, "calls": n, "calls_retried": 0,
    ...     "input_uncached_tokens": 100 * n, "output_tokens": 0} for m, n in ((7, 100), (8, 200))],
    ...     schema=REQUEST_MONTHS)
    >>> found = bridge(ledger, calls, "2026-07", "2026-08")
    >>> found
    Bridge(2026-07 to 2026-08: 10.00 to 24.00 USD, residual 0; .terms .cells .drivers .steps)
    >>> found.terms.filter(amount=0).height, found.terms.filter(pl.col("amount") != 0).select("term",
    ...     pl.col("amount").cast(pl.Int64)).rows()
    (16, [('requests', 10), ('price', 4)])
    """
    months = tuple(m if isinstance(m, date) else parse_month(m) for m in (first, last))
    months = tuple(month.replace(day=1) for month in months)
    if months[0] == months[1]:
        raise InputError(
            f"a bridge leads from one month to another, not from {format_month(months[0])} to itself"
        )
    found, currency = cells(entries, calls, *months, where=where or {}, metric=metric, errors=errors)
    told = read_weights(weights)
    days = [min(days_in_month(month), up_to or 31) for month in months]
    split = split_cells(found, days, told, method)
    start, end = (
        exact_sum(spend(side) for side in sides)
        for sides in zip(*((c.start, c.end) for c in found), strict=True)
    )
    table = cell_frame(found, split)
    terms = term_frame(table, exact_sum([end, start.copy_negate()]), price_error(found, told))
    return Bridge(
        months[0], months[1], currency, metric, start, end, terms, table,
        driver_frame(found, told), step_frame(terms), up_to,
    )  # fmt: skip
