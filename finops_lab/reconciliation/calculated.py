"""Calculated against billed: what telemetry says tokens cost, what the bill says, and why they differ."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import polars as pl

from finops_lab.calendar import first_of
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY, SCALE, exact_sum
from finops_lab.reconciliation._bill import Billed, billed
from finops_lab.reconciliation._cases import Key, cases
from finops_lab.reconciliation._causes import CAUSES, Case, explain
from finops_lab.reconciliation._proof import prove
from finops_lab.reconciliation._telemetry import Rated, Usage, around, seen

__all__ = ["CAUSES", "KEYS", "LABELS", "Reconciliation", "calculated_against_billed"]

KEYS = ("provider", "model", "day", "direction", "cache_action")
# What a reader sees of the steps of the waterfall.
LABELS = {
    "calculated": "Calculated at list price",
    "cached_tokens": "Cached tokens",
    "service_tier": "Batch and service tiers",
    "failed_calls": "Retries and failed calls not charged",
    "lag": "Billed on another day",
    "telemetry_not_on_bill": "Telemetry not on the bill",
    "traffic_not_seen": "Traffic that telemetry did not see",
    "sampling": "Sampling of telemetry",
    "unpriced": "Telemetry without a price",
    "price_change": "Price on the bill differs",
    "rounding": "Rounding on the bill",
    "other_charges": "Credits, corrections, other charges",
    "unexplained": "Unexplained",
    "billed": "Billed",
}
_COUNTS = ("telemetry_tokens", "unpriced_tokens", "billed_tokens")
_FLAGS = ("in_telemetry", "on_bill", "sampled")
_LINES: dict[str, pl.DataType | type[pl.DataType]] = {
    "provider": pl.String,
    "model": pl.String,
    "day": pl.Date,
    "direction": pl.String,
    "cache_action": pl.String,
    "BillingCurrency": pl.String,
    **dict.fromkeys(_FLAGS, pl.Boolean),
    "telemetry_tokens": pl.Int64,
    "unpriced_tokens": pl.Int64,
    "billed_tokens": MONEY,
    **dict.fromkeys(("calculated_usd", *CAUSES, "unexplained", "billed", "gap"), MONEY),
}
_QUANTUM = Decimal(1).scaleb(-SCALE)


@dataclass(frozen=True)
class Reconciliation:
    """The gap between calculated and billed, explained, and the proof that it adds up.

    Attributes
    ----------
    lines : polars.DataFrame
        Per ``provider``, ``model``, ``day``, ``direction`` (Input, Output, null where the bill does
        not say) and ``cache_action`` (Read, Write, null): ``in_telemetry``, ``on_bill``,
        ``sampled``, ``telemetry_tokens`` and the part of them without a price
        (``unpriced_tokens``), ``billed_tokens`` (Decimal, null where the bill does not count),
        ``calculated_usd``, a column per cause, ``unexplained``, ``billed``, and ``gap`` = ``billed``
        - ``calculated_usd`` = the causes + ``unexplained``, all ``Decimal(38, 18)`` USD.
        ``calculated_usd`` is of the tokens that have a price.
    waterfall : polars.DataFrame
        Per ``BillingCurrency`` and ``step``, in ``order`` from ``calculated`` to ``billed``:
        ``label``, ``kind`` (``total``, ``cause``, ``unexplained``), ``amount``, and ``start`` and
        ``end``, the running total before and after.
    matched : polars.DataFrame
        Per ``provider`` and ``model``: ``side`` (``both``, ``telemetry`` or ``bill``) and the names
        of both sides, so that what matched nothing can be seen.
    receipt : polars.DataFrame
        ``check``, ``expected``, ``found`` and ``residual`` (always 0), and rows that were left out.
    """

    lines: pl.DataFrame
    waterfall: pl.DataFrame
    matched: pl.DataFrame
    receipt: pl.DataFrame

    def __repr__(self) -> str:
        unexplained = exact_sum(self.lines["unexplained"].to_list()).normalize()
        return (
            f"Reconciliation({self.lines.height:,} lines, unexplained {unexplained:f} USD, residual 0; "
            ".lines .waterfall .matched .receipt)"
        )


def calculated_against_billed(
    requests: pl.LazyFrame,
    book: pl.LazyFrame,
    costs: pl.LazyFrame,
    *,
    metric: str = "BilledCost",
    by: str | Sequence[str] = KEYS,
    month: str | date | None = None,
) -> Reconciliation:
    """Price telemetry, set it beside the token lines of the bill and explain the gap.

    *Calculated* is the naive amount: every token that telemetry counts, at the standard list price
    of its direction in the book, in force when the call began, cached tokens at the price of input.
    Calls to models of one's own and calls that a gateway answered from its own cache never reached
    a vendor and are left out. The bill's side is every charge with a token direction or a model.

    From there each cause takes its share of the gap in this order, each computed from what the
    earlier ones left (sequential substitution), so that calculated + causes + unexplained = billed:

    - ``cached_tokens``: cached tokens at their own prices instead of that of input.
    - ``service_tier``: tokens at the price of their batch, flex or priority tier. Where only the
      bill knows the tiers, its tokens x (price of the tier - standard price) by the book.
    - ``failed_calls``: retries and calls that did not end well, as far as the bill has no room for
      their tokens: those the vendor did not charge. Charged ones leave no gap.
    - ``lag``: tokens that the bill has a day earlier or later: as many as one day lacks and the day
      beside it has too many of, where both numbers are the same or a month ends between them.
    - ``telemetry_not_on_bill``: tokens beyond those that the bill counts, at the book's price.
    - ``traffic_not_seen``: tokens that the bill counts beyond telemetry's, at the price of those
      telemetry knows, else at the book's, else the bill's. Of a charge that counts no tokens and
      that telemetry knows nothing of, all.
    - ``sampling``: instead of the two above, where telemetry is a sample and all days of a model,
      direction and tier from the provider's first logged call to its last are together off by no
      more than three standard errors (Horvitz and Thompson's, each call kept with probability
      1 / ``sample_weight``). Lag is not looked for in samples, and whether failed calls were charged
      is told for all days at once, by which answer brings the tokens nearer to the bill's.
    - ``unpriced``: tokens of telemetry that the book has no price for, at the bill's price.
    - ``price_change``: tokens billed x (unit price stated on the bill - price so far): agreed
      discounts, and prices that the book does not know. A charge
      that states none is held against all prices that the book ever had for its tokens: if just one
      gives its amount, that is the price it was billed at; if none does, the difference stays
      unexplained.
    - ``rounding``: charges that are less than one unit of the last decimal of the provider's
      amounts (a cent or finer) off tokens x unit price.
    - ``other_charges``: credits, taxes, purchases and corrections among the token lines.
    - ``unexplained``: what is left.

    Tokens of a tier are matched by tier where both sides know tiers. Where the bill does not tell
    cached tokens or directions apart, or charges a longer time than a day, telemetry is added up as
    the bill does it, the charge's first day standing for all.

    Parameters
    ----------
    requests : polars.LazyFrame
        ``inference_requests``. Counts of rows with a ``sample_weight`` are estimates: added up,
        they are rounded to whole tokens once, and their lines are ``sampled``.
    book : polars.LazyFrame
        ``prices``, such as from `finops_lab.pricing.price_book`.
    costs : polars.LazyFrame
        ``costs``, in USD.
    metric : str
        The cost to explain: BilledCost, EffectiveCost, ListCost or ContractedCost. The bill's unit
        price is ``ContractedUnitPrice``, else ``ListUnitPrice``; of ListCost the latter alone.
    by : str or sequence of str
        Keys of the lines, of `KEYS`; causes are found at all keys and then added up.
    month : str or datetime.date, optional
        Such as ``2026-10``: lines of its days only. The days beside it are read to see lag, which
        over all days adds up to nothing.

    Returns
    -------
    Reconciliation

    Raises
    ------
    CurrencyError
        The token lines are in several currencies, or not in USD.
    InputError
        A column is missing, or the cost is unknown on a token line.
    ReconciliationError
        When the parts do not add up: a defect, never a fault of the data.

    Notes
    -----
    Amounts are fractions until the end; each running total is rounded once, half to even, to 18
    decimals, and a cause is the difference of two of them.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from finops_lab import contracts
    >>> from finops_lab.pricing import price_book
    >>> noon = datetime(2026, 10, 5, 12, tzinfo=UTC)
    >>> call = {"ts_start": noon, "day": noon.date(), "provider": "openai", "model": "gpt-4o", "status": "ok"}
    >>> call |= {"n_requests": 1, "input_uncached_tokens": 600_000, "cache_read_tokens": 400_000}
    >>> paid = {"ChargePeriodStart": noon, "ChargePeriodEnd": noon, "ProviderName": "OpenAI"}
    >>> paid |= {"x_ModelId": "gpt-4o", "x_TokenDirection": "Input", "ChargeCategory": "Usage"}
    >>> paid |= {"BilledCost": Decimal("2.10"), "BillingCurrency": "USD"}
    >>> paid |= {"ConsumedQuantity": Decimal(1_000_000), "ConsumedUnit": "Tokens"}
    >>> found = calculated_against_billed(
    ...     pl.DataFrame([call], schema=contracts.dtypes("inference_requests")).lazy(),
    ...     price_book(),
    ...     pl.DataFrame([paid], schema=contracts.dtypes("costs")).lazy(),
    ... )
    >>> steps = found.waterfall.filter(pl.col("amount") != 0)
    >>> [(step, f"{amount:.2f}") for step, amount in steps.select("step", "amount").iter_rows()]
    [('calculated', '2.50'), ('cached_tokens', '-0.50'), ('unexplained', '0.10'), ('billed', '2.10')]
    """
    by = each_name(by)
    if metric not in AMOUNTS:
        raise InputError(f"there is no cost {metric!r}", hint=f"costs: {', '.join(AMOUNTS)}")
    unknown = [name for name in by if name not in KEYS]
    if unknown or not by:
        raise InputError(
            f"lines have no key {', '.join(unknown) or '(none)'}", hint=f"keys: {', '.join(KEYS)}"
        )
    span = _span(month)
    rated = Rated(book)
    usage = seen(requests, rated, *(around(span) if span else (None, None)))
    bill = billed(costs, metric, *(around(span) if span else (None, None)))
    found, series = cases(usage, bill, rated)
    logged = _logged(usage)
    for provider, days in series:
        first, last = logged.get(provider, (date.max, date.min))
        if span is not None:
            first, last = max(first, span[0]), min(last, span[1])
        explain(days, bill.steps.get(provider, Fraction(1, 100)), first, last)
    kept = {key: several for key, several in found.items() if span is None or span[0] <= key.day <= span[1]}
    lines = _lines(kept, by, bill.currency or "USD", _shown(usage, bill))
    receipt = prove(lines, usage, kept, requests, costs, metric, span)
    return Reconciliation(lines, _waterfall(lines), _matched(usage, bill), receipt)


def _span(month: str | date | None) -> tuple[date, date] | None:
    if month is None:
        return None
    first = first_of(month)
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def _logged(usage: Usage) -> dict[str, tuple[date, date]]:
    """Return the first and last day with calls of each provider."""
    found: dict[str, tuple[date, date]] = {}
    for where in usage.parts:
        first, last = found.get(where.provider, (where.day, where.day))
        found[where.provider] = (min(first, where.day), max(last, where.day))
    return found


def _shown(usage: Usage, bill: Billed) -> dict[tuple[str, str], str | None]:
    """Return the name of each model that readers see: telemetry's, else the bill's."""
    found = {}
    for key in {*usage.names, *bill.names}:
        names = {name for _, name in usage.names.get(key, bill.names.get(key, [])) if name}
        found[key] = min(names, key=lambda name: (len(name), name), default=None)
    return found


def _lines(
    found: dict[Key, list[Case]],
    by: Sequence[str],
    currency: str,
    shown: dict[tuple[str, str], str | None],
) -> pl.DataFrame:
    merged: dict[tuple[object, ...], list[Case]] = {}
    for key, several in found.items():
        named = dict(zip(KEYS, key, strict=True))
        named |= {"provider": key.provider or None, "model": shown[key.provider, key.model]}
        merged.setdefault(tuple(named[name] for name in KEYS if name in by), []).extend(several)
    keys = [name for name in KEYS if name in by]
    rows = [dict(zip(keys, key, strict=True)) | _line(several) for key, several in merged.items()]
    schema = {name: dtype for name, dtype in _LINES.items() if name in keys or name not in KEYS}
    filled = [{"BillingCurrency": currency} | row for row in rows]
    return pl.DataFrame(filled, schema=schema, orient="row").sort(keys, nulls_last=False)


def _line(several: list[Case]) -> dict[str, object]:
    total = sum((case.calculated for case in several), Fraction(0))
    billed_amount = _decimal(sum((case.billed for case in several), Fraction(0)))
    before = calculated = _decimal(total)
    row: dict[str, object] = {
        "in_telemetry": any(case.parts for case in several),
        "on_bill": any(case.lines for case in several),
        "sampled": any(case.sampled for case in several),
        "telemetry_tokens": sum(case.tokens for case in several),
        "unpriced_tokens": sum(part.tokens for case in several for part in case.parts if not part.priced),
        "billed_tokens": _billed_tokens(several),
        "calculated_usd": calculated,
    }
    with localcontext(prec=80):
        for cause in CAUSES:
            total += sum((case.causes[cause] for case in several), Fraction(0))
            now = _decimal(total)
            row[cause] = now - before
            before = now
        row |= {
            "unexplained": billed_amount - before,
            "billed": billed_amount,
            "gap": billed_amount - calculated,
        }
    return row


def _billed_tokens(several: list[Case]) -> Decimal | None:
    counts = [case.billed_tokens for case in several if case.usage]
    known = [count for count in counts if count is not None]
    return _decimal(sum(known, Fraction(0))) if known and len(known) == len(counts) else None


def _decimal(amount: Fraction) -> Decimal:
    with localcontext(prec=80):
        scaled = amount * 10**SCALE
        return Decimal(round(scaled)).scaleb(-SCALE).quantize(_QUANTUM, rounding=ROUND_HALF_EVEN)


def _waterfall(lines: pl.DataFrame) -> pl.DataFrame:
    columns = {step: "calculated_usd" if step == "calculated" else step for step in LABELS}
    rows = []
    for currency in lines["BillingCurrency"].unique().sort():
        of = lines.filter(pl.col("BillingCurrency") == currency)
        running = Decimal(0)
        for order, (step, column) in enumerate(columns.items()):
            amount = exact_sum(of[column].to_list())
            whole = step in ("calculated", "billed")
            start = Decimal(0) if whole else running
            running = exact_sum([start, amount])
            kind = "total" if whole else "unexplained" if step == "unexplained" else "cause"
            rows.append((currency, order, step, LABELS[step], kind, amount, start, running))
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "BillingCurrency": pl.String,
        "order": pl.Int64,
        **dict.fromkeys(("step", "label", "kind"), pl.String),
        **dict.fromkeys(("amount", "start", "end"), MONEY),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _matched(usage: Usage, bill: Billed) -> pl.DataFrame:
    rows, shown = [], _shown(usage, bill)
    for key in sorted({*usage.names, *bill.names}):
        there, here = usage.names.get(key, []), bill.names.get(key, [])
        side = "both" if there and here else "telemetry" if there else "bill"
        names = [sorted({str(name) for name, _ in pairs if name}) for pairs in (there, here)]
        models = [sorted({model for _, model in pairs if model}) for pairs in (there, here)]
        rows.append((key[0] or None, shown[key], side, names[0], models[0], names[1], models[1]))
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **dict.fromkeys(("provider", "model", "side"), pl.String),
        "telemetry_providers": pl.List(pl.String),
        "telemetry_models": pl.List(pl.String),
        "bill_providers": pl.List(pl.String),
        "bill_models": pl.List(pl.String),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
