"""What the command line prints and writes of a forecast."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.calendar import format_month
from finops_lab.errors import printable
from finops_lab.forecasting.hierarchy import TOTAL
from finops_lab.forecasting.panel import VALUES
from finops_lab.foreseeing import Outlook
from finops_lab.money import format_money

__all__ = ["flat", "print_outlook", "write_csv", "write_json"]

_MOST = 30


def print_outlook(made: Outlook, kept: pl.DataFrame, prophet: pl.DataFrame | None = None) -> None:
    """Print the total, the parts of each dimension, the running month, and how good it was.

    Parameters
    ----------
    made : Outlook
        The forecast.
    kept : polars.DataFrame
        Kept forecasts against what came, as `finops_lab.foreseeing.said_and_came` gives.
    prophet : polars.DataFrame, optional
        What Prophet says of the total, to stand beside it.
    """
    console = Console() if sys.stdout.isatty() else Console(width=200, soft_wrap=True)
    currency, bounds = made.panels.currency, ("lo_80", "hi_80", "lo_95", "hi_95")
    heads = ("month", "expected", "80% from", "80% to", "95% from", "95% to")
    _table(
        console,
        f"Forecast of {made.panels.metric} after {format_month(made.panels.month)}, {currency}",
        heads,
        [
            [format_month(row["ds"]), *[_money(row[name], currency) for name in ("yhat", *bounds)]]
            for row in made.total.iter_rows(named=True)
        ],
    )
    if prophet is not None:
        _table(
            console,
            f"Prophet, for comparison, {currency}",
            heads,
            [
                [format_month(row["ds"]), *[_money(row[name], currency) for name in ("yhat", *bounds)]]
                for row in prophet.iter_rows(named=True)
            ],
        )
    for level in made.panels.by:
        ahead = made.of(level)
        sums = ahead.group_by("unique_id").agg(pl.col("yhat").sum().alias("all"), pl.len())
        first = ahead.filter(pl.col("ds") == ahead["ds"].min()).join(sums, on="unique_id")
        shown = first.sort("all", "unique_id", descending=[True, False]).head(_MOST)
        months = made.total.height
        _table(
            console,
            f"Per {level}" + (f", the {_MOST} largest of {first.height}" if first.height > _MOST else ""),
            (level, format_month(made.total["ds"][0]), "80% from", "80% to", f"next {months} months"),
            [
                [row["unique_id"], *[_money(row[n], currency) for n in ("yhat", "lo_80", "hi_80", "all")]]
                for row in shown.iter_rows(named=True)
            ],
        )
    for row in made.open_month.filter(pl.col("level") == TOTAL).iter_rows(named=True):
        console.print(
            f"{format_month(row['ds'])} up to {row['through']}: {_money(row['to_date'], currency)}, the whole month "
            f"{_money(row['yhat'], currency)} (80%: {_money(row['lo_80'], currency)} to "
            f"{_money(row['hi_80'], currency)}); run-rate {_money(row['run_rate'], currency)}",
            markup=False,
            highlight=False,
        )
    _taken_otherwise(console, made)
    whole = pl.col("level") == TOTAL
    said = pl.concat([made.accuracy.filter(whole), kept.filter(whole)])
    _table(
        console,
        "What was said before, and what came",
        ("month", "months before", "said", "came", "off", "inside 80%", "source"),
        [
            [
                format_month(row["ds"]),
                str(row["lead"]),
                _money(row["yhat"], currency),
                _money(row["y"], currency),
                None if row["off"] is None else f"{row['off']:+.1%}",
                None if row["inside_80"] is None else ("yes" if row["inside_80"] else "no"),
                row["source"],
            ]
            for row in said.iter_rows(named=True)
        ],
    )
    _table(
        console,
        "Backtest of the total",
        ("model", "months judged", "MASE", "sMAPE", "bias", "inside 80%", "note"),
        [
            [
                row["model"],
                str(row["n"]),
                _number(row["mase"], ".2f"),
                _number(row["smape"], ".1f"),
                _number(row["bias"], "+.1%"),
                _number(row["coverage_80"], ".0%"),
                row["note"],
            ]
            for row in made.backtest.filter(whole).iter_rows(named=True)
        ],
    )


def _taken_otherwise(console: Console, made: Outlook) -> None:
    """Print which months were not taken as billed, and which charges the forecast does not go on with."""
    currency = made.panels.currency
    _table(
        console,
        "Months not taken as billed",
        ("level", "value", "month", "billed", "taken as", "why"),
        [
            [
                row["level"],
                row["unique_id"],
                format_month(row["ds"]),
                _money(row["y"], currency),
                _money(row["y_used"], currency),
                row["reason"],
            ]
            for row in made.cleaned.sort("ds", descending=True, maintain_order=True).head(_MOST).to_dicts()
        ],
    )
    _table(
        console,
        "Charges that the forecast does not go on with",
        ("category", "provider", "service", "last in", "in all"),
        [
            [
                row["ChargeCategory"],
                row["ProviderName"],
                row["ServiceName"],
                None if row["last"] is None else format_month(row["last"]),
                _money(row["y"], currency),
            ]
            for row in made.panels.kinds_ended.head(_MOST).to_dicts()
        ],
    )


def flat(made: Outlook) -> pl.DataFrame:
    """Return the forecast of every level in one frame: ``level``, ``unique_id``, ``ds``, values, ``model``."""
    return (
        made.nodes.join(made.panels.names.select("unique_id", "level", "name"), on="unique_id")
        .select("level", pl.col("name").alias("unique_id"), "ds", *VALUES, "model")
        .sort("level", "unique_id", "ds")
    )


def write_csv(made: Outlook, out: Path) -> None:
    """Write the forecast of every level as CSV."""
    _write(out, flat(made).write_csv())


def write_json(made: Outlook, out: Path) -> None:
    """Write everything the forecast tells as JSON: months as ``2026-11-01``, unknown as null."""
    tables = {
        "forecast": flat(made),
        "baseline": made.baseline,
        "open_month": made.open_month,
        "cleaned": made.cleaned,
        "ended": made.panels.ended,
        "accuracy": made.accuracy,
        "backtest": made.backtest,
    }
    told = {
        "month": format_month(made.panels.month),
        "metric": made.panels.metric,
        "currency": made.panels.currency,
        **{name: frame.to_dicts() for name, frame in tables.items()},
    }
    _write(out, json.dumps(told, indent=1, default=str) + "\n")


def _write(out: Path, text: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(out)


def _money(amount: float | None, currency: str) -> str | None:
    return None if amount is None else format_money(Decimal(f"{amount:.2f}"), currency)


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _table(
    console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str | None]]
) -> None:
    if not rows:
        return
    table = Table(title=title)
    for place, name in enumerate(headings):
        table.add_column(escape(name), overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*[escape(printable(cell or "—")) for cell in row])
    console.print(table)
