"""`finops-lab budgets`: where budgets stand, on the screen, as a table and for a pipeline."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import LabOption, Metric, app, day, spinner

__all__ = ["register"]


class Period(StrEnum):
    """How long a budget is looked at."""

    month = "month"
    quarter = "quarter"
    year = "year"


class FailOnBudget(StrEnum):
    """States of budgets that can fail a run."""

    over_budget = "over-budget"
    at_risk = "at-risk"


def budgets(
    month: Annotated[str, typer.Option("--month", help="Month of use, such as 2026-10.", metavar="YYYY-MM")],
    lab: LabOption = None,
    period: Annotated[
        Period,
        typer.Option("--period", help="The month, or its quarter or year: what is shown and may fail."),
    ] = Period.month,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write every budget and period as CSV or Parquet.", metavar="FILE"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: status, alerts, checks, changes; amounts as text.")
    ] = False,
    metric: Annotated[
        Metric, typer.Option("--metric", help="Cost column: amortised or invoiced.")
    ] = Metric.EffectiveCost,
    today: Annotated[
        str | None,
        typer.Option("--today", help="The first day that is not over. Default: today.", metavar="YYYY-MM-DD"),
    ] = None,
    fail_on: Annotated[
        FailOnBudget | None,
        typer.Option(
            "--fail-on",
            help="Exit with 3 when more is spent than planned in the period (over-budget), or that is more likely "
            "than not, too (at-risk).",
        ),
    ] = None,
) -> None:
    """Show where the budgets of [[budgets]] in finops.toml stand: spent, expected, chance to go over.

    Each budget is judged in the month, its quarter and its year. What is not over counts with its
    forecast. `used up` is the day on which more than the budget is spent.

    Examples: finops-lab budgets --month 2026-10; finops-lab budgets --month 2026-10 --period year
    --fail-on at-risk; finops-lab budgets --lab my-lab --month 2026-10 --json
    """
    from finops_lab.budgeting.budgets import budgets as judged
    from finops_lab.calendar import parse_month
    from finops_lab.errors import InputError
    from finops_lab.lab import open_lab
    from finops_lab.printing_budgets import as_json as written
    from finops_lab.printing_budgets import print_budgets
    from finops_lab.printing_kpis import check_ending, write_figures
    from finops_lab.reporting.monthly import check_month

    if out is not None:
        check_ending(out)  # before the work, not after it
    first, now = parse_month(month), day(today)
    if first > now:
        raise InputError(f"{month} is in the future", hint="--today sets another date")
    opened = open_lab(lab, progress=sys.stderr.isatty())
    check_month(opened, first)
    with spinner("forecasting what has a budget"):
        found = judged(opened, first, at=now, metric=metric.value)
    if found.status.filter(found.status["budget"].is_not_null()).is_empty():
        raise InputError(
            f"finops.toml has no budget for the year of {month}",
            file=opened.folder / "finops.toml",
            hint='add [[budgets]] from = "2026-01" to = "2026-12" amount = "1000"',
        )
    if as_json:
        typer.echo(written(found))
    else:
        print_budgets(found, period.value)
    if out is not None:
        write_figures(found.status, out)
        typer.echo(f"wrote {found.status.height} rows: {out}", err=as_json)
    states = {"over-budget": ("over",), "at-risk": ("over", "at risk")}
    if fail_on is not None and (named := found.over(states[fail_on.value], period.value)):
        typer.echo(
            f"{' or '.join(states[fail_on.value])} in the {period.value} of {month}: {', '.join(named)}",
            err=True,
        )
        raise typer.Exit(3)


def register() -> None:
    """Add the command, after those that come first in the help."""
    app.command()(budgets)
