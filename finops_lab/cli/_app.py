"""What the commands share."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.calendar import parse_day

__all__ = ["AtOption", "LabOption", "Metric", "app", "day", "spinner", "write_page"]

app = typer.Typer(
    name="finops-lab",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rendering help with rich would cost more than importing polars
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Analysis and forecasting of AI spend: bills and telemetry in, a ledger that adds up and a "
    "reproducible monthly review out.\n\n"
    "A lab is a folder with finops.toml and exports/. Start with `finops-lab review --month 2026-10` "
    "on the packaged synthetic sample lab, or write a lab of your own with `finops-lab sample --out DIR`.",
    epilog="Exit codes: 0 done; 1 a run failed; 2 bad parameters or bad input; "
    "3 over budget or findings (with --fail-on).",
)

LabOption = Annotated[
    Path | None,
    typer.Option(
        "--lab", help="The lab's folder. Default: the packaged synthetic sample lab.", metavar="DIR"
    ),
]

AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", help="How far the month has run (UTC), where it is not over.", metavar="YYYY-MM-DD[THH:MM]"
    ),
]


class Metric(StrEnum):
    """Cost columns a review can show."""

    EffectiveCost = "EffectiveCost"
    BilledCost = "BilledCost"


def day(text: str | None) -> date:
    """Read ``--today``."""
    return date.today() if text is None else parse_day(text, "--today")


def spinner(text: str):  # type: ignore[no-untyped-def]
    """Show that something is under way."""
    from rich.console import Console

    return Console(stderr=True).status(text)


def write_page(target: Path, text: str) -> None:
    """Write a file whole or not at all, making its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(target)
