"""The usual targets of the field in the currency of a lab's figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from finops_lab.calendar import format_month
from finops_lab.config import KpiTarget, Rate
from finops_lab.unit_economics.targets import DEFAULTS, IN_USD

__all__ = ["usual"]


def usual(currency: str, rates: Sequence[Rate], month: date) -> tuple[list[KpiTarget], dict[str, str]]:
    """Return the usual targets of the field in a currency, and why a KPI has none.

    Parameters
    ----------
    currency : str
        ISO 4217 code that the figures are in.
    rates : sequence of Rate
        ``[[rates]]`` of `finops.toml`: those of the month, from USD, convert what is meant in USD.
    month : datetime.date
        First day of the month whose rate counts.

    Examples
    --------
    >>> october = date(2026, 10, 1)
    >>> targets, why = usual("JPY", [], october)
    >>> [target.kpi for target in targets], why
    (['M2', 'M4', 'M6', 'M7', 'M10'], {'M1': 'the usual target is in USD, and [[rates]] has none to JPY for 2026-10'})
    >>> rate = Rate.model_validate({"month": "2026-10", "from": "USD", "to": "JPY", "rate": "150"})
    >>> usual("JPY", [rate], october)[0][0].at_most
    Decimal('15.00')
    """
    found = {(r.month, r.source, r.target): r.rate for r in rates}
    rate = Decimal(1) if currency == "USD" else found.get((month, "USD", currency))
    targets: list[KpiTarget] = []
    why: dict[str, str] = {}
    for target in DEFAULTS:
        if target.kpi not in IN_USD or currency == "USD":
            targets.append(target)
        elif rate is None:
            why[target.kpi] = (
                f"the usual target is in USD, and [[rates]] has none to {currency} for {format_month(month)}"
            )
        else:
            ends = {name: getattr(target, name) for name in ("at_least", "at_most")}
            priced = {name: None if end is None else end * rate for name, end in ends.items()}
            targets.append(target.model_copy(update=priced))
    return targets, why
