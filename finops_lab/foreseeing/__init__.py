"""A lab's forecast: what its spend will come to, at levels that add up, and how good that was before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finops_lab.foreseeing.histories import Panels, ledger_of, node_events, panels, strangers
    from finops_lab.foreseeing.outlook import MONTHS, Outlook, expected, foresee, months_of, of_ledger
    from finops_lab.foreseeing.records import keep, kept, said_and_came

_HOMES = {
    "MONTHS": "outlook",
    "Outlook": "outlook",
    "Panels": "histories",
    "expected": "outlook",
    "foresee": "outlook",
    "keep": "records",
    "kept": "records",
    "ledger_of": "histories",
    "months_of": "outlook",
    "node_events": "histories",
    "of_ledger": "outlook",
    "panels": "histories",
    "said_and_came": "records",
    "strangers": "histories",
}

__all__ = [
    "MONTHS",
    "Outlook",
    "Panels",
    "expected",
    "foresee",
    "keep",
    "kept",
    "ledger_of",
    "months_of",
    "node_events",
    "of_ledger",
    "panels",
    "said_and_came",
    "strangers",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
