"""Bills against invoices: what each invoice says, and what the bill rows that name it add up to.

Sources: FinOps Open Cost and Usage Specification (FOCUS) 1.4, dataset Invoice Detail, its column
BilledCost and the appendix Rounding Variance Tolerance; FOCUS 1.2, column BilledCost.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal, localcontext

import polars as pl

from finops_lab.errors import CurrencyError, InputError, ReconciliationError
from finops_lab.money import MONEY
from finops_lab.reconciliation.invoice_files import COLUMNS, read_invoices

__all__ = ["match_invoices", "read_invoices"]

_ID = ["InvoiceId", "BillingCurrency"]
_KEY = [*_ID, "InvoiceIssuerName"]
_MATCH = [*_ID, "_issuer"]
_ORDER = ["BillingCurrency", "InvoiceId", "bill_issuer", "invoice_issuer", "first_billing_month"]


def match_invoices(costs: pl.LazyFrame | pl.DataFrame, invoices: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Compare bill rows, added up by invoice, with what the invoices say.

    FOCUS: the ``BilledCost`` of all rows with an ``InvoiceId`` is the amount of that invoice. An
    invoice is known by its id and currency; where one id belongs to several issuers, on the bill
    or among the invoices, by its issuer too.

    Parameters
    ----------
    costs : polars.LazyFrame or DataFrame
        Rows of the `costs` contract.
    invoices : polars.LazyFrame or DataFrame
        What `read_invoices` returns; at least ``InvoiceId``, ``BillingCurrency`` and ``BilledCost``
        (Decimal).

    Returns
    -------
    polars.DataFrame
        One line per invoice and currency, and one per currency, issuer and billing month for the
        rows that name no invoice; sorted by currency and id, those last. Money is in ``BillingCurrency``.

        ``status``: ``matched`` (equal to the last decimal), ``differs``, ``not on an invoice`` (the
        rows name an invoice that is not given), ``invoice without rows``, ``no invoice id``.
        ``BillingCurrency``, ``InvoiceId``, ``bill_issuer``, ``invoice_issuer``, ``InvoiceIssueDate``,
        ``InvoiceIssueStatus``, ``first_billing_month`` and ``last_billing_month`` (of the bill rows,
        such as ``2026-10``), ``rows`` (Int64; of the bill).
        ``bill_billed``, ``invoice_billed`` (Decimal; null where that side has no such invoice) and
        ``gap`` (Decimal; bill less invoice, a side that is absent counted as nothing), so each of the
        three adds up to the whole. ``bill_tax`` and ``invoice_tax`` are the parts of charge category
        Tax, ``gap_before_tax`` the gap without both; null where the invoice does not tell.
        ``invoice_repeated`` (Decimal) is the part of ``invoice_billed`` that details make which stand in
        the invoice twice, null where the list has no details.
        ``tolerance`` (Decimal) and ``within_tolerance`` (Boolean): the rounding that FOCUS 1.4
        allows, max(100, sqrt(rows) / 2) subunits of the currency, held against the gap before tax
        where known, else the gap; null where one side is absent.

    Raises
    ------
    InputError
        When `invoices` names an invoice twice, or lacks the issuer of an id that several share.
    CurrencyError
        When an invoice has no currency.
    ReconciliationError
        When the lines do not add up to the bill and the invoices: a defect, never a fault of the data.

    Examples
    --------
    >>> row = {"InvoiceId": "A-1", "BillingCurrency": "USD", "InvoiceIssuerName": None}
    >>> row |= {"x_BillingMonth": "2026-10", "ChargeCategory": "Usage", "BilledCost": Decimal("9.996")}
    >>> costs = pl.DataFrame([row], schema_overrides={"BilledCost": MONEY})
    >>> given = pl.DataFrame([row | {"BilledCost": Decimal(10)}], schema_overrides={"BilledCost": MONEY})
    >>> found = match_invoices(costs, given).row(0, named=True)
    >>> found["status"], str(found["gap"].normalize()), found["within_tolerance"]
    ('differs', '-0.004', True)
    """
    bill = _bill(costs.lazy())
    given = _given(invoices.lazy())
    shared = _shared(bill, given)
    vague = shared.join(given.filter(pl.col("InvoiceIssuerName").is_null()), on=_ID).sort(_ID)
    if vague.height:
        raise InputError(
            f"several issuers have an invoice {vague['InvoiceId'][0]!r}: the issuer must be told",
            column="InvoiceIssuerName",
            hint="add the column InvoiceIssuerName to the invoices, spelled as on the bill",
        )
    listed = _keyed(given, shared).rename({"InvoiceIssuerName": "invoice_issuer"})
    again = listed.filter(pl.struct(_MATCH).is_duplicated()).sort(_MATCH)
    if again.height:
        raise InputError(f"invoice {again['InvoiceId'][0]!r} is given twice", column="InvoiceId")
    named = _by_invoice(bill.filter(pl.col("InvoiceId").is_not_null()), shared)
    lines = named.join(
        listed,
        on=_MATCH,
        how="full",
        coalesce=True,
        nulls_equal=True,
    )
    unnamed = bill.filter(pl.col("InvoiceId").is_null()).select(
        "BillingCurrency",
        "InvoiceId",
        pl.col("InvoiceIssuerName").alias("bill_issuer"),
        pl.col("x_BillingMonth").alias("first_billing_month"),
        pl.col("x_BillingMonth").alias("last_billing_month"),
        "rows",
        "bill_billed",
        "bill_tax",
    )
    lines = _judged(pl.concat([lines, unnamed], how="diagonal"))
    _prove(lines, bill, given)
    return lines.sort(_ORDER, nulls_last=True)


def _bill(costs: pl.LazyFrame) -> pl.DataFrame:
    """Add up the bill by invoice, issuer and billing month."""
    tax = pl.col("BilledCost").filter(pl.col("ChargeCategory") == "Tax").sum()
    return (
        costs.group_by(*[pl.col(name).cast(pl.String) for name in _KEY], "x_BillingMonth")
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("BilledCost").sum().cast(MONEY).alias("bill_billed"),
            tax.cast(MONEY).alias("bill_tax"),
        )
        .collect()
    )


def _given(invoices: pl.LazyFrame) -> pl.DataFrame:
    """Check the invoices and give them all columns."""
    known = invoices.collect_schema()
    for name in (*_ID, "BilledCost"):
        if name not in known:
            raise InputError(f"the invoices have no column {name}", column=name)
    if not isinstance(known["BilledCost"], pl.Decimal):
        raise InputError(
            f"the invoices' BilledCost is {known['BilledCost']}, not Decimal",
            column="BilledCost",
            hint="read_invoices() reads amounts exactly",
        )
    frame = invoices.select(
        (pl.col(name) if name in known else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in COLUMNS.items()
    ).collect()
    for name in ("InvoiceId", "BilledCost"):
        if frame[name].null_count():
            raise InputError(f"an invoice has no {name}", column=name)
    if frame["BillingCurrency"].null_count():
        raise CurrencyError("an invoice has no BillingCurrency", column="BillingCurrency")
    return frame


def _shared(bill: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    """Return the ids, per currency, that belong to several issuers on one side."""
    names = [side.select(*_KEY, pl.lit(n).alias("_side")) for n, side in enumerate((bill, given))]
    issuers = pl.concat(names).drop_nulls(["InvoiceId", "InvoiceIssuerName"]).unique()
    several = issuers.group_by("InvoiceId", "BillingCurrency", "_side").len().filter(pl.col("len") > 1)
    return several.select("InvoiceId", "BillingCurrency", pl.lit(True).alias("_several")).unique()


def _keyed(frame: pl.DataFrame, shared: pl.DataFrame) -> pl.DataFrame:
    issuer = pl.when(pl.col("_several")).then(pl.col("InvoiceIssuerName")).alias("_issuer")
    joined = frame.join(shared, on=["InvoiceId", "BillingCurrency"], how="left")
    return joined.with_columns(issuer).drop("_several")


def _by_invoice(bill: pl.DataFrame, shared: pl.DataFrame) -> pl.DataFrame:
    return (
        _keyed(bill, shared)
        .group_by(_MATCH)
        .agg(
            pl.col("InvoiceIssuerName").drop_nulls().first().alias("bill_issuer"),
            pl.col("x_BillingMonth").min().alias("first_billing_month"),
            pl.col("x_BillingMonth").max().alias("last_billing_month"),
            pl.col("rows").sum(),
            pl.col("bill_billed").sum().cast(MONEY),
            pl.col("bill_tax").sum().cast(MONEY),
        )
    )


def _judged(lines: pl.DataFrame) -> pl.DataFrame:
    """Compare both sides of each line and order its columns."""
    zero = pl.lit(0).cast(MONEY)
    bill, invoice = pl.col("bill_billed"), pl.col("BilledCost")
    lines = lines.with_columns(
        (bill.fill_null(zero) - invoice.fill_null(zero)).cast(MONEY).alias("gap"),
        pl.col("rows").fill_null(0),
    ).with_columns((pl.col("gap") - pl.col("bill_tax") + pl.col("x_TaxBilledCost")).cast(MONEY).alias("net"))
    both = zip(
        lines["BillingCurrency"], lines["rows"], lines["bill_billed"], lines["BilledCost"], strict=True
    )
    allowed = [
        None if billed is None or invoiced is None else _tolerance(currency, rows)
        for currency, rows, billed, invoiced in both
    ]
    status = (
        pl.when(pl.col("InvoiceId").is_null())
        .then(pl.lit("no invoice id"))
        .when(bill.is_null())
        .then(pl.lit("invoice without rows"))
        .when(invoice.is_null())
        .then(pl.lit("not on an invoice"))
        .when(pl.col("gap") == 0)
        .then(pl.lit("matched"))
        .otherwise(pl.lit("differs"))
    )
    lines = lines.with_columns(pl.Series("tolerance", allowed, dtype=MONEY))
    return lines.select(
        status.alias("status"),
        "BillingCurrency",
        "InvoiceId",
        "bill_issuer",
        "invoice_issuer",
        "InvoiceIssueDate",
        "InvoiceIssueStatus",
        "first_billing_month",
        "last_billing_month",
        "rows",
        "bill_billed",
        invoice.alias("invoice_billed"),
        "gap",
        "bill_tax",
        pl.col("x_TaxBilledCost").alias("invoice_tax"),
        pl.col("x_RepeatedBilledCost").alias("invoice_repeated"),
        pl.col("net").alias("gap_before_tax"),
        "tolerance",
        (pl.coalesce("net", "gap").abs() <= pl.col("tolerance")).alias("within_tolerance"),
    )


def _tolerance(currency: str, rows: int) -> Decimal:
    """Return FOCUS 1.4's rounding variance tolerance of an invoice."""
    from babel.numbers import get_currency_precision

    with localcontext(prec=80):
        subunit = Decimal(1).scaleb(-int(get_currency_precision(currency)))
        allowed = max(100 * subunit, Decimal(rows).sqrt() / 2 * subunit)
        return allowed.quantize(Decimal(1).scaleb(-18), rounding=ROUND_DOWN)


def _prove(lines: pl.DataFrame, bill: pl.DataFrame, given: pl.DataFrame) -> None:
    """Refuse lines that do not add up to both sides, per currency."""
    sides = {"bill_billed": (bill, "bill_billed"), "invoice_billed": (given, "BilledCost")}
    for mine, (frame, theirs) in sides.items():
        for currency in sorted({*frame["BillingCurrency"], *lines["BillingCurrency"]}):
            there = frame.filter(pl.col("BillingCurrency") == currency)
            here = lines.filter(pl.col("BillingCurrency") == currency)
            rows_differ = theirs == "bill_billed" and here["rows"].sum() != there["rows"].sum()
            if here[mine].sum() != there[theirs].sum() or rows_differ:
                raise ReconciliationError(f"the matched invoices lost or doubled amounts in {currency}")
