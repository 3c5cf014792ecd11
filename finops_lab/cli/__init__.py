"""The command line: thin over the public functions.

Exit codes: 0 done, 1 a run failed, 2 bad parameters or bad input, 3 over budget, findings of the data
doctor or missed KPIs (only with ``--fail-on``).
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finops_lab.cli import (
    anomalies,
    books,
    budgets,
    canary,
    exports,
    features,
    forecasts,
    incidents,
    invoices,
    plans,
    profile,
    routes,
    tradeoffs,
    value,
)
from finops_lab.cli._app import AtOption, LabOption, Metric, app, day, spinner
from finops_lab.cli._pipes import outlive_readers
from finops_lab.errors import FinopsError, InputError

if TYPE_CHECKING:
    from finops_lab.lab import Lab

__all__ = ["app", "main"]


class Severity(StrEnum):
    """How bad a finding of the data doctor is."""

    error = "error"
    warning = "warning"
    info = "info"


class FailOn(StrEnum):
    """Findings that can fail a run."""

    over_budget = "over-budget"


@app.command()
def sample(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must be new or empty.", metavar="DIR")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed writes the same bytes.")] = 1,
) -> None:
    """Write a synthetic lab to learn from.

    It holds 30 months of bills, 3 months of telemetry and planted truths.

    Example: finops-lab sample --out my-lab --seed 1
    """
    from finops_lab.samples import generate

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists and is not an empty folder", file=out, hint="choose another --out")
    with spinner("writing the synthetic lab"):
        generate(out, seed)
    typer.echo(f"wrote the synthetic lab {out}")


@app.command()
def ingest(
    lab: LabOption = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say what would be added, replaced and skipped; write nothing."),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask [[sources]]; use the copies at hand.")
    ] = False,
) -> None:
    """Read new and changed exports into the lake.

    Copies what [[sources]] of finops.toml name first. Says what became of every row: accepted,
    quarantined with its reason, or superseded.

    Examples: finops-lab ingest --lab my-lab; finops-lab ingest --lab my-lab --explain
    """
    from finops_lab.ingestion.doubles import repeated
    from finops_lab.lab import explain_lab, open_lab
    from finops_lab.printing import print_doubts, print_summary

    if explain:
        print_summary(explain_lab(lab, progress=sys.stderr.isatty()), explained=True)
        return
    opened = open_lab(lab, progress=sys.stderr.isatty(), refresh=True, offline=offline)
    print_summary(opened.summary)
    print_doubts(repeated(opened.costs()), opened.withdrawn())


@app.command()
def doctor(
    lab: LabOption = None,
    least: Annotated[
        Severity, typer.Option("--least", help="Leave out what is less severe.")
    ] = Severity.info,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write the findings as CSV or Parquet.", metavar="FILE"),
    ] = None,
    today: Annotated[
        str | None,
        typer.Option("--today", help="The date that future and over refer to.", metavar="YYYY-MM-DD"),
    ] = None,
    fail_on: Annotated[
        Severity | None, typer.Option("--fail-on", help="Exit with 3 on a finding as severe as this.")
    ] = None,
) -> None:
    """Look for what bills and telemetry say that cannot be right.

    Each finding says where it is, how many rows and how much money it touches, and how to mend it.

    Examples: finops-lab doctor --lab my-lab; finops-lab doctor --lab my-lab --least warning --fail-on error
    """
    from finops_lab.api import diagnose
    from finops_lab.lab import open_lab
    from finops_lab.printing import print_findings, write_findings

    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("looking at bills and telemetry"):
        findings = diagnose(opened, day(today))
    order = [severity.value for severity in Severity]
    shown = findings.filter(findings["severity"].is_in(order[: order.index(least) + 1]))
    print_findings(shown)
    if out is not None:
        write_findings(shown, out)
        typer.echo(f"wrote {shown.height} findings: {out}")
    if fail_on is not None and set(findings["severity"]) & set(order[: order.index(fail_on) + 1]):
        raise typer.Exit(3)


@app.command()
def review(
    lab: LabOption = None,
    month: Annotated[
        str | None,
        typer.Option(
            "--month", help="Month of use to review, such as 2026-10, or `previous`.", metavar="YYYY-MM"
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Review every closed month from here on that has no current review in --out.",
            metavar="YYYY-MM",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of reports.", metavar="DIR")] = Path("reports"),
    metric: Annotated[
        Metric, typer.Option("--metric", help="Cost column: amortised or invoiced.")
    ] = Metric.EffectiveCost,
    today: Annotated[
        str | None,
        typer.Option(
            "--today", help="The date that `previous`, closed and future refer to.", metavar="YYYY-MM-DD"
        ),
    ] = None,
    at: AtOption = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            "--fail-on",
            help="Exit with 3 when a month reviewed now, or a team, model, ... in it, is over its budget.",
        ),
    ] = None,
) -> None:
    """Run the monthly review of a lab.

    Writes one offline HTML page, the notebook behind it and its figures as JSON.

    Examples: finops-lab review --month 2026-10; finops-lab review --lab my-lab --month previous;
    finops-lab review --lab my-lab --since 2026-07 --out reports
    """
    from finops_lab.calendar import format_month, is_closed, last_closed_month, parse_month
    from finops_lab.lab import open_lab
    from finops_lab.reporting.run import due

    if (month is None) == (since is None):
        raise InputError("give --month or --since, one of them", hint="for example --month 2026-10")
    if at is not None and month is None:
        raise InputError("--at says how far one month has run: give it with --month")
    now = day(today)
    if month == "previous":
        month = format_month(last_closed_month(now))
    start = parse_month(month if month is not None else since)
    if start > now:
        raise InputError(f"{format_month(start)} is in the future", hint="--today sets another date")
    opened = open_lab(lab, progress=sys.stderr.isatty())
    months = [month] if month is not None else due(opened, start, now, out, metric.value)
    if not months:
        typer.echo(f"every closed month since {since} that has charges has its current review in {out}")
    if month is not None and not is_closed(start, now):
        typer.echo(f"note: {month} is not over by {now}, its bill is not complete", err=True)
    over = {m: _review_one(opened, m, out, metric, at or "") for m in months}
    if fail_on is FailOn.over_budget and any(over.values()):
        for name, teams in sorted((n, t) for n, t in over.items() if t):
            typer.echo(f"over budget in {name}: {', '.join(teams)}", err=True)
        raise typer.Exit(3)


def _review_one(lab: Lab, month: str, out: Path, metric: Metric, at: str) -> list[str]:
    """Run one review and return whose budget it found exceeded."""
    from finops_lab.reporting.run import run_review

    done = run_review(lab, month, out, metric=metric.value, at=at, progress=sys.stderr.isatty())
    typer.echo(f"review of {month}: {done.html}")
    typer.echo(f"  notebook {done.ipynb}, figures {done.json}")
    for said in done.results["data_quality"]["warnings"]:
        typer.echo(f"warning: {said}", err=True)
    return list(done.results["headline"]["over_budget"])


value.register()
forecasts.register()
budgets.register()
anomalies.register()
incidents.register()
features.register()
plans.register()
profile.register()
tradeoffs.register()
routes.register()
canary.register()
books.register()
invoices.register()
exports.register()


def main() -> None:
    """Run the command line; a user's mistake ends in one line, never in a traceback."""
    outlive_readers()
    try:
        app()
    except FinopsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # Of the machine, such as a folder that nobody may write to or a full disk.
        said = FinopsError(error.strerror or str(error), file=error.filename)
        typer.echo(f"error: {said}", err=True)
        sys.exit(said.exit_code)
