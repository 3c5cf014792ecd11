"""`finops-lab route`: the traffic split over variants that meets quality at least spend."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finops_lab.cli._app import app
from finops_lab.errors import InputError, printable

if TYPE_CHECKING:
    import polars as pl

    from finops_lab.tradeoffs.routing import Route

__all__ = ["register"]

_POINTS = 11


def route(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet, a row per query and variant: query, model, quality, amount; where known "
            "variant, latency_ms, weight.",
            metavar="FILE",
        ),
    ],
    min_quality: Annotated[
        float | None, typer.Option("--min-quality", help="Least mean quality.", metavar="0.9")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Most to spend on all queries.", metavar="12.50")
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option("--max-latency-ms", help="No query takes longer.", metavar="800")
    ] = None,
    max_p95_ms: Annotated[
        float | None,
        typer.Option("--max-p95-ms", help="At most 5 % of the traffic takes longer.", metavar="200"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: amounts as text with all digits.")
    ] = False,
) -> None:
    """Split traffic over variants: least spend for a quality, or best quality for a budget.

    What each variant answered to each query is known from the file, so this is the best that any router
    could do; one that has to guess does worse. Also prints the quality that each spend can buy.

    Examples: finops-lab route queries.csv --min-quality 0.9; finops-lab route queries.parquet --budget 12.50
    """
    from finops_lab.tradeoffs.queries import read_queries
    from finops_lab.tradeoffs.routed_curve import best_split_curve
    from finops_lab.tradeoffs.routing import route as routed

    if (min_quality is None) == (budget is None):
        raise InputError("give --min-quality or --budget, one of them")
    queries = read_queries(file)
    found = routed(
        queries,
        min_quality=min_quality,
        budget=None if budget is None else _amount(budget),
        max_latency_ms=max_latency_ms,
        max_p95_ms=max_p95_ms,
    )
    curve = best_split_curve(queries, points=_POINTS)
    if as_json:
        from finops_lab.printing_offers import as_json as written

        typer.echo(written(split=found.split, curve=curve, found=_figures(found)))
    else:
        latency = max_latency_ms is not None or max_p95_ms is not None
        _print(found, curve, "quality" if min_quality is None else "spend", latency)


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InputError(f"--budget takes an amount such as 12.50, not {text!r}") from None
    return amount


def _figures(found: Route) -> dict[str, Any]:
    return {
        "amount": found.amount,
        "quality": found.quality,
        "slow_share": found.slow_share,
        "whole_amount": found.whole_amount,
        "whole_quality": found.whole_quality,
        "gap": found.gap,
        "per_point": found.per_point,
    }


def _print(found: Route, curve: pl.DataFrame, aim: str, latency: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    split = Table("model", "variant", "share", "quality", "amount", title="Best split", title_justify="left")
    for row in found.split.iter_rows(named=True):
        cells = (row["model"], row["variant"] or "", f"{row['share']:.1%}", f"{row['quality']:.4f}")
        split.add_row(*(escape(printable(cell)) for cell in cells), _short(row["amount"]))
    console.print(split)
    console.print(f"in all: quality {found.quality:.4f}, spend {_short(found.amount)}", highlight=False)
    if found.whole_amount is not None and found.gap is not None:
        said = f"whole queries: quality {found.whole_quality:.4f}, spend {_short(found.whole_amount)}"
        console.print(f"{said}; {aim} at most {found.gap:.3g} from the best", highlight=False)
    if found.slow_share is not None:
        console.print(f"above the P95 limit: {found.slow_share:.2%} of the traffic", highlight=False)
    if found.per_point is not None:
        console.print(f"one more hundredth of quality: {_short(found.per_point)}", highlight=False)
    # The curve is of all variants: a limit on latency may shut out some of it.
    title = f"What each spend can buy{', whatever the latency' if latency else ''}"
    line = Table("per 1,000 queries", "quality", title=title, title_justify="left")
    for spent, quality in curve.select("per_1000_queries", "quality").iter_rows():
        line.add_row(_short(spent), f"{quality:.4f}")
    console.print(line)


def _short(amount: Decimal | float) -> str:
    return f"{float(amount):,.6g}"


def register() -> None:
    """Add the command, after those that come first in the help."""
    app.command()(route)
