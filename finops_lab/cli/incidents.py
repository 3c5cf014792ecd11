"""`finops-lab weekly` and `finops-lab postmortem`: a week and an incident as pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import LabOption, app

__all__ = ["register"]

_Out = Annotated[Path, typer.Option("--out", help="Folder of reports.", metavar="DIR")]


def weekly(
    last: Annotated[
        str,
        typer.Option(
            "--last", help="Last day of the week. Default: the last with charges.", metavar="YYYY-MM-DD"
        ),
    ] = "",
    lab: LabOption = None,
    top: Annotated[int, typer.Option("--top", help="Anomalies and spenders that are shown.", min=1)] = 10,
    out: _Out = Path("reports"),
) -> None:
    """Write a week's anomalies, alerts and top spenders as one offline HTML page.

    Its notebook and figures lie beside it.

    Example: finops-lab weekly --lab my-lab --last 2026-10-18 --out reports
    """
    from finops_lab.lab import open_lab
    from finops_lab.reporting.weeks import run_weekly

    opened = open_lab(lab, progress=sys.stderr.isatty())
    done = run_weekly(opened, last, out, top=top, progress=sys.stderr.isatty())
    typer.echo(f"weekly review: {done.html}")
    typer.echo(f"  notebook {done.ipynb}, figures {done.json}")


def postmortem(
    start: Annotated[str, typer.Option("--start", help="First day of the incident.", metavar="YYYY-MM-DD")],
    end: Annotated[str, typer.Option("--end", help="Last day, included.", metavar="YYYY-MM-DD")],
    scope: Annotated[
        str,
        typer.Option(
            "--scope",
            help="Whose spend, such as team=research. Default: everything.",
            metavar="DIMENSION=VALUE",
        ),
    ] = "",
    currency: Annotated[
        str,
        typer.Option(
            "--currency",
            help="Of what is paid in several: which. Default: the one of the most money.",
            metavar="CODE",
        ),
    ] = "",
    lab: LabOption = None,
    out: _Out = Path("reports"),
) -> None:
    """Write the post-mortem of an incident as one offline HTML page, with its notebook and figures.

    What it cost (with an interval), whose money that is, what happened when, what coincides, and the
    questions that are asked first. Fill in the lessons in the notebook that lies beside the page.

    Example: finops-lab postmortem --start 2026-10-12 --end 2026-10-16 --scope team=research
    """
    from finops_lab.lab import open_lab
    from finops_lab.reporting.incidents import run_postmortem

    opened = open_lab(lab, progress=sys.stderr.isatty())
    done = run_postmortem(
        opened, start, end, out, scope=scope, currency=currency, progress=sys.stderr.isatty()
    )
    typer.echo(f"post-mortem: {done.html}")
    typer.echo(f"  notebook {done.ipynb}, figures {done.json}")


def register() -> None:
    """Add the commands, after those that come first in the help."""
    for command in (weekly, postmortem):
        app.command()(command)
