"""`finops-lab forecast`: what spend will come to, on the screen and as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.cli._app import LabOption, Metric, app, spinner
from finops_lab.errors import InputError

__all__ = ["register"]

_BY = ["team", "model"]


def forecast(
    month: Annotated[
        str, typer.Option("--month", help="Last month to look at, such as 2026-10.", metavar="YYYY-MM")
    ],
    lab: LabOption = None,
    months: Annotated[int, typer.Option("--months", help="Months ahead.", min=1, max=36)] = 6,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="Dimension that adds up to the total; several times. Default: team, model."
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write all levels, every month.", metavar="FILE")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Write everything: also baseline, backtest, what was said.", metavar="FILE"
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the forecast in the lake, to be held against what comes.")
    ] = False,
    prophet: Annotated[
        bool, typer.Option("--prophet", help="Also show what Prophet says of the total, for comparison.")
    ] = False,
    metric: Annotated[
        Metric, typer.Option("--metric", help="Cost column: amortised or invoiced.")
    ] = Metric.EffectiveCost,
) -> None:
    """Forecast spend in total and per team and model, so that all add up.

    With 80 and 95 % intervals, the running month where there is one, what would have been said
    1, 3 and 6 months before against what came, and a backtest against simple baselines.

    Examples: finops-lab forecast --month 2026-10; finops-lab forecast --month 2026-10 --by team
    --months 12 --csv forecast.csv
    """
    from finops_lab import foreseeing
    from finops_lab.forecasting import prophet_forecast
    from finops_lab.lab import open_lab
    from finops_lab.printing_forecast import print_outlook, write_csv, write_json

    for path in (csv, json):
        if path is not None and path.is_dir():
            raise InputError("is a folder, not a file", file=path)
    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("forecasting"):
        ledger = foreseeing.ledger_of(opened)
        made = foreseeing.of_ledger(ledger, month, months, by or _BY, metric=metric.value, lab=opened)
        if keep and ledger.inputs_sha256:
            foreseeing.keep(opened, made, ledger.inputs_sha256)
        beside = prophet_forecast(made.panels.named(made.panels.going_on), months) if prophet else None
    print_outlook(made, foreseeing.said_and_came(opened, made.panels), beside)
    for said in foreseeing.strangers(made.panels, opened.config.events):
        typer.echo(f"warning: {said}", err=True)
    if csv is not None:
        write_csv(made, csv)
        typer.echo(f"wrote the forecast: {csv}")
    if json is not None:
        write_json(made, json)
        typer.echo(f"wrote the forecast: {json}")


def register() -> None:
    """Add the command, after those that come first in the help."""
    app.command()(forecast)
