"""`finops-lab feature-budget`: what a feature is going to cost that nobody has used yet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import app, spinner, write_page

__all__ = ["register"]


def feature_budget(
    plan: Annotated[
        Path | None,
        typer.Argument(
            help="The plan, a TOML file. Default: the packaged synthetic example.", metavar="PLAN"
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Also write one offline page with sliders.", metavar="FILE"),
    ] = None,
    lab: Annotated[
        Path | None,
        typer.Option(
            "--lab", help="A lab whose prices, and features as analogues, count too.", metavar="DIR"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="In place of the plan's; the same seed, the same draws."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", min=1_000, max=100_000, help="In place of the plan's.")
    ] = None,
) -> None:
    """Budget a feature that has no history, from its drivers and their ranges.

    Shows each month at likely values and from P10 to P90, what it is made of, what it depends on
    most, the revenue that breaks even, and the same use on other models' price lists.

    Examples: finops-lab feature-budget; finops-lab feature-budget my-plan.toml --html budget.html;
    finops-lab feature-budget my-plan.toml --lab my-lab
    """
    from finops_lab.budgeting.features import feature_budget as worked_out
    from finops_lab.lab import open_lab
    from finops_lab.printing_features import print_feature_budget

    opened = open_lab(lab, progress=sys.stderr.isatty()) if lab is not None else None
    with spinner("drawing from the ranges"):
        budget = worked_out(plan, opened, seed=seed, draws=draws)
    print_feature_budget(budget)
    if page is not None:
        from finops_lab.reporting.feature_page import feature_page

        write_page(page, feature_page(budget))
        typer.echo(f"page: {page}")


def register() -> None:
    """Add the command, after those that come first in the help."""
    app.command("feature-budget")(feature_budget)
