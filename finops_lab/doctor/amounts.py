"""Do the amounts of a charge agree with each other: rounded costs, prices, order, sign."""

from __future__ import annotations

import polars as pl

from finops_lab.doctor._model import Look, Tables, Told, check
from finops_lab.doctor._rows import ACCOUNT, examples, flagged
from finops_lab.doctor._words import amount, place, share, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

# Below these, a rounded column is chance; a price is rounded to some digits in every export.
_FEW = 5
_MOSTLY = 0.9
_RELATIVE = 1e-6
_ABSOLUTE = 1e-6

_EXACT = pl.col("BilledCost") % 1 != 0
_PLAIN = (
    pl.col("ChargeCategory").is_in(["Usage", "Purchase"])
    & pl.col("ChargeClass").is_null()
    & (pl.col("BilledCost") >= 0)
)


def _rounded(name: str, tables: Tables) -> Look:
    """Compare a column with BilledCost per account, among the charges billed with decimals."""
    whole = pl.col(name) % 1 == 0
    # A purchase costs nothing effectively when it covers later charges.
    rows = tables.costs.filter(_EXACT & (pl.col("ChargeCategory") != "Purchase") & pl.col(name).is_not_null())
    found = yield flagged(
        rows,
        pl.lit(True),
        money=pl.when(whole).then((pl.col("BilledCost") - pl.col(name)).abs()).sum(),
        whole=whole.sum().cast(pl.Int64),
        zero=(pl.col(name) == 0).sum().cast(pl.Int64),
        billed=pl.col("BilledCost").sum(),
        said=pl.col(name).sum(),
    )
    told = []
    for row in found.iter_rows(named=True):
        if row["whole"] < _FEW or row["whole"] < _MOSTLY * row["rows"] or not row["money"]:
            continue
        currency = row["BillingCurrency"]
        told.append(
            Told(
                place(row["ProviderName"], row["BillingAccountId"], name, span(row["first"], row["last"])),
                f"{row['whole']:,} of {plural(row['rows'], 'charge')} billed with decimals have their {name} "
                f"in whole {currency} ({row['zero']:,} are 0): billed {amount(row['billed'], currency)}, "
                f"{name} {amount(row['said'], currency)}; row by row they differ by "
                f"{amount(row['money'], currency)}",
                row["whole"],
                currency,
                row["money"],
                examples(row),
            )
        )
    return told


@check(
    "effective cost rounded",
    table="costs",
    severity="error",
    meaning="EffectiveCost is rounded to whole units of the currency, or 0, while BilledCost is exact.",
    fix="export the bill again with unrounded costs; until then use BilledCost for this account",
)
def _effective_cost_rounded(tables: Tables) -> Look:
    return (yield from _rounded("EffectiveCost", tables))


@check(
    "contracted cost rounded",
    table="costs",
    severity="warning",
    meaning="ContractedCost is rounded to whole units of the currency, or 0, while BilledCost is exact.",
    fix="export the bill again with unrounded costs; do not use ContractedCost of this account for savings",
)
def _contracted_cost_rounded(tables: Tables) -> Look:
    return (yield from _rounded("ContractedCost", tables))


def _priced(price: str, cost: str, tables: Tables) -> Look:
    """Multiply in floats: only whether the difference is large matters, no amount is made of it."""
    product = pl.col(price).cast(pl.Float64) * pl.col("PricingQuantity").cast(pl.Float64)
    billed = pl.col(cost).cast(pl.Float64)
    size = pl.max_horizontal(product.abs(), billed.abs())
    wrong = (product - billed).abs() > pl.max_horizontal(size * _RELATIVE, pl.lit(_ABSOLUTE))
    usual = pl.col("ChargeCategory").is_in(["Usage", "Purchase"]) & pl.col("ChargeClass").is_null()
    found = yield flagged(
        tables.costs,
        usual & wrong,
        money=pl.col(cost).abs().sum(),
        said=pl.col(cost).sum(),
        made=product.sum(),
    )
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], cost, span(row["first"], row["last"])),
            f"{plural(row['rows'], 'charge')}: {price} x PricingQuantity is not {cost} "
            f"(together {row['made']:,.6g} against {amount(row['said'], row['BillingCurrency'])})",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "list price x quantity",
    table="costs",
    severity="warning",
    meaning="ListUnitPrice x PricingQuantity is not ListCost (beyond a millionth, corrections aside).",
    fix="ask the issuer how the price is rounded and in which unit; do not re-price these charges",
)
def _list_price_times_quantity(tables: Tables) -> Look:
    return (yield from _priced("ListUnitPrice", "ListCost", tables))


@check(
    "contracted price x quantity",
    table="costs",
    severity="warning",
    meaning="ContractedUnitPrice x PricingQuantity is not ContractedCost (beyond a millionth).",
    fix="ask the issuer how the price is rounded and in which unit; do not re-price these charges",
)
def _contracted_price_times_quantity(tables: Tables) -> Look:
    return (yield from _priced("ContractedUnitPrice", "ContractedCost", tables))


def _ordered(high: str, low: str, flag: pl.Expr, tables: Tables) -> Look:
    over = pl.col(low) - pl.col(high)
    beyond = over.cast(pl.Float64) > pl.max_horizontal(
        pl.col(high).cast(pl.Float64).abs() * _RELATIVE, pl.lit(_ABSOLUTE)
    )
    found = yield flagged(tables.costs, _PLAIN & flag & beyond, money=over.sum(), said=pl.col(low).sum())
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], low, span(row["first"], row["last"])),
            f"{plural(row['rows'], 'charge')}: {low} is above {high}, by "
            f"{amount(row['money'], row['BillingCurrency'])} of {amount(row['said'], row['BillingCurrency'])}",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "contracted above list",
    table="costs",
    severity="warning",
    meaning="ContractedCost exceeds ListCost: the agreed price would be above the public one.",
    fix="savings against list prices are not usable for these charges: ask the issuer which price is wrong",
)
def _contracted_above_list(tables: Tables) -> Look:
    return (yield from _ordered("ListCost", "ContractedCost", pl.lit(True), tables))


@check(
    "effective above contracted",
    table="costs",
    severity="warning",
    meaning="EffectiveCost exceeds ContractedCost of a charge that is not the idle part of a commitment.",
    fix="check the amortization of the export; commitments aside, discounts only lower a cost",
)
def _effective_above_contracted(tables: Tables) -> Look:
    used = pl.col("CommitmentDiscountStatus").is_null() | (pl.col("CommitmentDiscountStatus") != "Unused")
    return (yield from _ordered("ContractedCost", "EffectiveCost", used, tables))


@check(
    "billed above contracted",
    table="costs",
    severity="warning",
    meaning="BilledCost exceeds ContractedCost of usage: the invoice asks more than the agreed price.",
    fix="compare with the invoice and the contract; ContractedCost or BilledCost of these charges is wrong",
)
def _billed_above_contracted(tables: Tables) -> Look:
    usage = pl.col("ChargeCategory") == "Usage"
    return (yield from _ordered("ContractedCost", "BilledCost", usage, tables))


@check(
    "negative usage",
    table="costs",
    severity="warning",
    meaning="Usage with a negative cost that is not marked as a correction: a refund in disguise.",
    fix="treat these as refunds: keep them out of unit costs and tag coverage, or ask for ChargeClass",
)
def _negative_usage(tables: Tables) -> Look:
    usage = (pl.col("ChargeCategory") == "Usage") & pl.col("ChargeClass").is_null()
    found = yield flagged(
        tables.costs,
        usage & ((pl.col("BilledCost") < 0) | (pl.col("EffectiveCost") < 0)),
        said=pl.col("BilledCost").sum(),
    )
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'Usage row')} with a negative cost and no ChargeClass, together "
            f"{amount(row['said'], row['BillingCurrency'])} billed",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "several currencies",
    table="costs",
    severity="warning",
    meaning="The bills are in more than one currency, which must not be added.",
    fix="add dated [[rates]] to finops.toml, or look at one BillingCurrency at a time",
)
def _several_currencies(tables: Tables) -> Look:
    found = yield flagged(tables.costs, pl.lit(True), by=["BillingCurrency"], said=pl.col("BilledCost").sum())
    if found.height < 2:
        return []
    rows = int(found["rows"].sum())
    every = found.sort("rows", descending=True).rows(named=True)
    return [
        Told(
            row["BillingCurrency"],
            f"{plural(row['rows'], 'charge')} ({share(row['rows'], rows)} of all rows, "
            f"{amount(row['said'], row['BillingCurrency'])} billed) are in {row['BillingCurrency']}, "
            f"most are in {every[0]['BillingCurrency']}",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in every[1:]
    ]


@check(
    "currency code unknown",
    table="costs",
    severity="error",
    meaning="BillingCurrency is no ISO 4217 code: the amounts may be tokens or credits, not money.",
    fix="BillingCurrency must be a national currency (ISO 4217); tokens and credits belong in PricingCurrency",
)
def _currency_code_unknown(tables: Tables) -> Look:
    from babel.numbers import list_currencies

    known = pl.col("BillingCurrency").is_in(sorted(list_currencies()))
    found = yield flagged(tables.costs, ~known)
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"]),
            f"{plural(row['rows'], 'charge')} in {row['BillingCurrency']!r}, which is no currency of ISO 4217",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "virtual pricing currency",
    table="costs",
    severity="info",
    meaning="Charges are priced in tokens, credits or another currency than the one they are billed in.",
    fix="add up only columns in BillingCurrency; PricingCurrency columns of these rows count units",
)
def _virtual_pricing_currency(tables: Tables) -> Look:
    other = pl.col("PricingCurrency").is_not_null() & (pl.col("PricingCurrency") != pl.col("BillingCurrency"))
    found = yield flagged(
        tables.costs,
        other,
        by=[*ACCOUNT, "PricingCurrency"],
        priced=pl.col("PricingCurrencyEffectiveCost").sum(),
        effective=pl.col("EffectiveCost").sum(),
    )
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'charge')} are priced in {row['PricingCurrency']!r} "
            f"({row['priced']:,.2f}) and billed in {row['BillingCurrency']} "
            f"({amount(row['effective'], row['BillingCurrency'])} effective)",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


CHECKS = (
    _effective_cost_rounded,
    _contracted_cost_rounded,
    _list_price_times_quantity,
    _contracted_price_times_quantity,
    _contracted_above_list,
    _effective_above_contracted,
    _billed_above_contracted,
    _negative_usage,
    _several_currencies,
    _currency_code_unknown,
    _virtual_pricing_currency,
)
