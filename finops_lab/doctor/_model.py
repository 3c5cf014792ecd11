"""What a check is, what it may look at, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, localcontext
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion.lake import FileEntry
from finops_lab.money import MONEY, SCALE, exact_sum

__all__ = ["SCHEMA", "SEVERITIES", "Check", "Look", "Tables", "Told", "check", "findings", "total"]

# More questions in one pass read a table less often and hold more of it: two keep 3 M rows below 350 MB.
_TOGETHER = 2
SEVERITIES = ("error", "warning", "info")
SCHEMA: dict[str, pl.DataType] = {
    "check": pl.String(),
    "severity": pl.String(),
    "table": pl.String(),
    "where": pl.String(),
    "rows": pl.Int64(),
    "BillingCurrency": pl.String(),
    "money_at_stake": MONEY,
    "finding": pl.String(),
    "fix": pl.String(),
    "examples": pl.List(pl.String()),
}


@dataclass(frozen=True)
class Told:
    """One finding of a check; `severity` and `fix` where they differ from the check's own."""

    where: str
    text: str
    rows: int | None = None
    currency: str | None = None
    money: Decimal | None = None
    examples: Sequence[str] = ()
    severity: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Tables:
    """What the doctor looks at. Tables that are not given are empty; nothing is changed.

    Attributes
    ----------
    costs : polars.LazyFrame
        Bill rows that count (``costs``), overlaps of ``[[coverage]]`` left out.
    requests, gpu_samples, training_jobs, quarantine : polars.LazyFrame
        ``inference_requests``, ``gpu_samples``, ``training_jobs``, and the rows that were rejected.
    prices : polars.LazyFrame, optional
        The price book; without it no request is priced.
    log : sequence of (str, FileEntry)
        Table and log entry of every ingested file.
    copies : mapping of str to str
        Files that were not read, since their content is that of another file, and why.
    files : mapping of str to pathlib.Path, optional
        Where the ingested files lie, by their path in the log; without it files are not looked at as
        delivered.
    withdrawn : sequence of str
        Files whose rows still count although they are no longer delivered.
    overlap : polars.DataFrame, optional
        What coverage plans leave out.
    owner_tags : sequence of str
        Normalised tag keys that name an owner, such as ``team``.
    today : datetime.date, optional
        The date that "future" and "over" refer to. Without it only the data's own days are compared.
    """

    costs: pl.LazyFrame
    requests: pl.LazyFrame = field(default_factory=lambda: _empty("inference_requests"))
    gpu_samples: pl.LazyFrame = field(default_factory=lambda: _empty("gpu_samples"))
    training_jobs: pl.LazyFrame = field(default_factory=lambda: _empty("training_jobs"))
    quarantine: pl.LazyFrame | None = None
    prices: pl.LazyFrame | None = None
    log: Sequence[tuple[str, FileEntry]] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] | None = None
    withdrawn: Sequence[str] = ()
    overlap: pl.DataFrame | None = None
    owner_tags: Sequence[str] = ("team",)
    today: date | None = None

    def complete(self) -> Tables:
        """Return the same with every column of the contracts; what is absent is null."""
        return replace(
            self,
            costs=_whole(self.costs, "costs"),
            requests=_whole(self.requests, "inference_requests"),
            gpu_samples=_whole(self.gpu_samples, "gpu_samples"),
            training_jobs=_whole(self.training_jobs, "training_jobs"),
        )


Look = Generator[pl.LazyFrame, pl.DataFrame, Iterable[Told]]


@dataclass(frozen=True)
class Check:
    """A check: its name, what a finding means and how to mend it.

    `look` is a generator: it yields the lazy tables it needs, is sent them collected, and returns
    what it found. So all checks share one pass over a table.
    """

    name: str
    table: str
    severity: str
    meaning: str
    fix: str
    look: Callable[[Tables], Look]


def check(
    name: str, *, table: str, severity: str, meaning: str, fix: str
) -> Callable[[Callable[[Tables], Look]], Check]:
    """Make a check of a function: the decorator of every check."""

    def register(look: Callable[[Tables], Look]) -> Check:
        return Check(name, table, severity, meaning, fix, look)

    return register


def findings(checks: Sequence[Check], tables: Tables) -> pl.DataFrame:
    """Run checks over tables, some questions in one pass.

    Returns
    -------
    polars.DataFrame
        `SCHEMA`, errors first, then by money at stake and rows.
    """
    seen = tables.complete()
    said: list[tuple[Check, Told]] = []
    waiting: list[tuple[Check, Look, pl.LazyFrame]] = []

    def step(check: Check, look: Look, answer: pl.DataFrame | None) -> None:
        try:
            # `send(None)` starts a generator.
            question = look.send(answer)  # type: ignore[arg-type]
        except StopIteration as done:
            said.extend((check, told) for told in done.value)
        else:
            waiting.append((check, look, question))

    for one in checks:
        step(one, one.look(seen), None)
    while waiting:
        asked, waiting = waiting[:_TOGETHER], waiting[_TOGETHER:]
        answers = pl.collect_all([question for _, _, question in asked], engine="streaming")
        for (one, look, _), answer in zip(asked, answers, strict=True):
            step(one, look, answer)
    return _frame(said)


def _scaled(amount: Decimal) -> Decimal:
    with localcontext(prec=60):  # the default would refuse what a ledger can hold
        return round(amount, SCALE)


def _frame(said: Iterable[tuple[Check, Told]]) -> pl.DataFrame:
    rows = [
        (
            check.name,
            told.severity or check.severity,
            check.table,
            told.where,
            told.rows,
            told.currency,
            None if told.money is None else _scaled(told.money),
            told.text,
            told.fix or check.fix,
            list(told.examples),
        )
        for check, told in said
    ]
    # Amounts of several currencies are not compared; within a currency the largest comes first.
    rows.sort(
        key=lambda row: (
            SEVERITIES.index(str(row[1])),
            -abs(row[6]) if row[6] is not None else Decimal(1),
            -(row[4] or 0),
            str(row[0]),
            str(row[3]),
        )
    )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def total(amounts: Iterable[Decimal | None]) -> Decimal:
    """Add up amounts exactly; unknown ones add nothing."""
    return exact_sum(amount for amount in amounts if amount is not None)


def _empty(table: str) -> pl.LazyFrame:
    return pl.LazyFrame(schema=contracts.dtypes(table))


def _whole(rows: pl.LazyFrame, table: str) -> pl.LazyFrame:
    wanted, given = contracts.dtypes(table), rows.collect_schema()
    for name in contracts.required(table):
        if name not in given:
            raise InputError(f"{table} have no column {name!r}", column=name)
    absent = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in wanted.items() if name not in given]
    return rows.with_columns(absent) if absent else rows
