"""The data doctor: what bills and telemetry say that cannot be right, and what is at stake.

Every check looks at tables and changes nothing. A finding says where it is, how many rows and how
much money it touches, and how to mend it.

>>> sorted({check.severity for check in CHECKS})
['error', 'info', 'warning']
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from finops_lab.doctor import (
    amounts,
    clocks,
    columns,
    commitments,
    delivered,
    machines,
    overlaps,
    periods,
    requests,
    tags,
)
from finops_lab.doctor._model import SCHEMA, Check, Tables, findings
from finops_lab.doctor._words import amount
from finops_lab.ingestion.run import FETCHED
from finops_lab.lab import Lab
from finops_lab.pricing import price_book

__all__ = ["CHECKS", "SCHEMA", "Check", "Tables", "check", "checks", "doctor", "examine", "readable"]

_BILLS: tuple[Check, ...] = (
    *amounts.CHECKS,
    *columns.CHECKS,
    *commitments.CHECKS,
    *periods.CHECKS,
    *tags.CHECKS,
)
CHECKS: tuple[Check, ...] = (
    *_BILLS,
    *delivered.CHECKS,
    *overlaps.CHECKS,
    *requests.CHECKS,
    *clocks.CHECKS,
    *machines.CHECKS,
)


def checks() -> pl.DataFrame:
    """List every check: ``check``, ``table``, ``severity`` (its usual one), ``meaning``, ``fix``."""
    names = ("check", "table", "severity", "meaning", "fix")
    rows = [(c.name, c.table, c.severity, c.meaning, c.fix) for c in CHECKS]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def check(
    costs: pl.LazyFrame, *, owner_tags: Sequence[str] = ("team",), today: date | None = None
) -> pl.DataFrame:
    """Check bill rows alone.

    Parameters
    ----------
    costs : polars.LazyFrame
        Rows of the `costs` contract.
    owner_tags : sequence of str
        Tag keys that name an owner.
    today : datetime.date, optional
        The date that "future" and "over" refer to.

    Returns
    -------
    polars.DataFrame
        As `examine`.

    Raises
    ------
    InputError
        When a column that the contract requires is missing.
    """
    return findings(_BILLS, Tables(costs, owner_tags=owner_tags, today=today))


def examine(tables: Tables) -> pl.DataFrame:
    """Run every check over tables.

    Parameters
    ----------
    tables : Tables
        What to look at; nothing is changed.

    Returns
    -------
    polars.DataFrame
        One row per finding: ``check``, ``severity`` (``error``: figures are wrong, ``warning``: they
        may mislead, ``info``: know it), ``table``, ``where``, ``rows`` (Int64), ``BillingCurrency``,
        ``money_at_stake`` (Decimal), ``finding``, ``fix``, ``examples`` (``file:row``, the first and
        the last). Errors first, then by money and rows. Texts quote the data: escape them where they
        are shown.

    Raises
    ------
    InputError
        When a table lacks a column that its contract requires.
    """
    return findings(CHECKS, tables)


def doctor(lab: Lab, today: date | None = None) -> pl.DataFrame:
    """Examine a lab: its bills, telemetry, ingestion log, quarantine and coverage plans.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    today : datetime.date, optional
        The date that "future" and "over" refer to. Without it nothing is compared with a clock.

    Returns
    -------
    polars.DataFrame
        As `examine`.
    """
    log = lab.files()
    roots = {True: lab.folder / "lake", False: lab.folder / "exports"}
    copies = lab.summary.files.filter(pl.col("status") == "duplicate")["file"]
    why = dict(lab.summary.notes.select("file", "text").rows())
    return examine(
        Tables(
            costs=lab.costs(),
            requests=lab.table("inference_requests"),
            gpu_samples=lab.table("gpu_samples"),
            training_jobs=lab.table("training_jobs"),
            quarantine=lab.quarantine(),
            prices=price_book(lab.table("prices")),
            log=log,
            copies={file: why.get(file, "same content as another file") for file in copies},
            files={e.path: roots[e.path.startswith(f"{FETCHED}/")] / e.path for _, e in log},
            withdrawn=lab.withdrawn(),
            overlap=lab.overlap(),
            owner_tags=_owner_tags(lab),
            today=today,
        )
    )


def readable(findings: pl.DataFrame) -> pl.DataFrame:
    """Write findings for a table or a terminal: one text or number per cell.

    Parameters
    ----------
    findings : polars.DataFrame
        From `doctor`, `examine` or `check`.

    Returns
    -------
    polars.DataFrame
        ``severity``, ``check``, ``where``, ``rows``, ``at_stake`` (text, each amount in its own
        currency), ``finding``, ``fix``, ``examples`` (text). Cells quote the data and are not escaped.
    """
    stakes = [
        None if money is None else amount(money, currency)
        for money, currency in findings.select("money_at_stake", "BillingCurrency").rows()
    ]
    return findings.select(
        "severity",
        "check",
        "where",
        "rows",
        pl.Series("at_stake", stakes, dtype=pl.String),
        "finding",
        "fix",
        pl.col("examples").list.join(", "),
    )


def _owner_tags(lab: Lab) -> tuple[str, ...]:
    """Return the tag keys that the rules of the dimension team look at."""
    keys = [key for rule in lab.config.dimensions.team for key in rule.tag]
    return tuple(dict.fromkeys(keys)) or ("team",)
