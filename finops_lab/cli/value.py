"""`finops-lab kpis` and `dashboard`: what AI spend is worth, on the screen and as pages."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import AtOption, LabOption, Metric, app, spinner

__all__ = ["register"]


class Name(StrEnum):
    """The dashboards there are."""

    executive = "executive"
    oncall = "oncall"
    debug = "debug"
    optimization = "optimization"


class FailOnKpi(StrEnum):
    """Findings that can fail a run."""

    missed = "missed"


def kpis(
    month: Annotated[str, typer.Option("--month", help="Month of use, such as 2026-10.", metavar="YYYY-MM")],
    lab: LabOption = None,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Tell the headlines by team, model, feature, ...", metavar="DIMENSION"),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option("--explain", help="Say where a KPI comes from: M1 to M12.", metavar="KPI"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write all figures as CSV or Parquet.", metavar="FILE"),
    ] = None,
    metric: Annotated[
        Metric, typer.Option("--metric", help="Cost column: amortised or invoiced.")
    ] = Metric.EffectiveCost,
    at: AtOption = None,
    fail_on: Annotated[
        FailOnKpi | None, typer.Option("--fail-on", help="Exit with 3 when a KPI missed its target.")
    ] = None,
) -> None:
    """Show the twelve KPIs of a month, with targets and status.

    Targets are those of [[kpis]] in finops.toml, before the usual ones of the field.

    Examples: finops-lab kpis --month 2026-10; finops-lab kpis --month 2026-10 --by team;
    finops-lab kpis --month 2026-10 --explain M1
    """
    from finops_lab.lab import open_lab
    from finops_lab.printing_kpis import check_ending, print_by, print_explained, print_kpis, write_figures
    from finops_lab.reporting.monthly import check_month
    from finops_lab.valuing import kpis as worked_out

    if out is not None:
        check_ending(out)  # before the work, not after it
    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("working the KPIs out"):
        found = worked_out(opened, month, metric=metric.value, at=at)
    if found.table["value"].is_null().all():
        check_month(opened, found.month)
    if explain is not None:
        print_explained(found.explain(explain))
    elif by is not None:
        print_by(found, by, opened.currency)
    else:
        print_kpis(found, opened.currency)
    if out is not None:
        write_figures(found.figures, out)
        typer.echo(f"wrote {found.figures.height:,} figures: {out}")
    if fail_on is not None and "missed" in set(found.table["status"]):
        raise typer.Exit(3)


def dashboard(
    name: Annotated[Name, typer.Argument(help="Which dashboard.")],
    month: Annotated[str, typer.Option("--month", help="Month of use, such as 2026-10.", metavar="YYYY-MM")],
    lab: LabOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of reports.", metavar="DIR")] = Path("reports"),
    metric: Annotated[
        Metric, typer.Option("--metric", help="Cost column: amortised or invoiced.")
    ] = Metric.EffectiveCost,
    at: AtOption = None,
) -> None:
    """Write a dashboard as one offline HTML page, with its notebook and figures.

    executive: spend, value, forecast. oncall: promises in danger, what coincides, what to do.
    debug: where time and GPU-seconds go. optimization: idle, variants, commitments, backlog.

    Example: finops-lab dashboard executive --lab my-lab --month 2026-10 --out reports
    """
    from finops_lab.lab import open_lab
    from finops_lab.reporting.dashboards import run_dashboard

    opened = open_lab(lab, progress=sys.stderr.isatty())
    done = run_dashboard(
        name.value, opened, month, out, metric=metric.value, at=at or "", progress=sys.stderr.isatty()
    )
    typer.echo(f"{name.value} dashboard of {month}: {done.html}")
    typer.echo(f"  notebook {done.ipynb}, figures {done.json}")


def register() -> None:
    """Add the commands, after those that come first in the help."""
    for command in (kpis, dashboard):
        app.command()(command)
