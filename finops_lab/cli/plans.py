"""`finops-lab what-if` and `commitments`: other prices, and discounts for use promised ahead."""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from finops_lab.cli._app import LabOption, app, day, spinner
from finops_lab.errors import InputError

__all__ = ["register"]

_Month = Annotated[
    str, typer.Option("--month", help="Month of use, such as 2026-10, that is over.", metavar="YYYY-MM")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON: amounts as text with all digits.")]


def what_if(
    month: _Month,
    lab: LabOption = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Move all calls to this model; may be given several times.",
            metavar="PROVIDER/MODEL",
        ),
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="At the batch prices of the list.")] = False,
    batch_factor: Annotated[
        str | None,
        typer.Option(
            "--batch-factor",
            help="Assume this part of the standard price where the list has no batch price.",
            metavar="0.5",
        ),
    ] = None,
    cached: Annotated[
        str | None,
        typer.Option("--cached", help="Assume this share of input is read from the cache.", metavar="0.6"),
    ] = None,
    prices_on: Annotated[
        str | None,
        typer.Option(
            "--prices-on", help="Take the prices of this day, not of each call.", metavar="YYYY-MM-DD"
        ),
    ] = None,
    self_host: Annotated[
        str | None,
        typer.Option("--self-host", help="Move vendors' calls to this model of your own.", metavar="MODEL"),
    ] = None,
    utilization: Annotated[
        str | None,
        typer.Option("--utilization", help="Assume your machines are in use so much.", metavar="0.8"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", help="Only calls with this value, such as feature=chat.", metavar="COLUMN=VALUE"
        ),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Tell it by model, feature, team, ...")] = "model",
    as_json: _Json = False,
) -> None:
    """Price a month's real calls as if they had been made otherwise.

    Every logged call is priced with the dated price list, as made and in the scenario, and counts for
    what it stands for. Where the bill has their list price, both are brought to its volume. Tokens
    without a price are shown, never guessed. Quality and speed are not judged.

    Examples: finops-lab what-if --month 2026-10 --model openai/gpt-4o-mini --batch;
    finops-lab what-if --month 2026-10 --cached 0.6 --only model=quill-large --by feature;
    finops-lab what-if --month 2026-10 --self-host larch-7b --utilization 0.8
    """
    from finops_lab.budgeting.what_if import what_if as priced
    from finops_lab.lab import open_lab
    from finops_lab.printing_offers import as_json as written
    from finops_lab.printing_offers import print_what_if

    where: dict[str, list[str]] = {}
    for text in only or []:
        name, _, value = text.partition("=")
        if not name or not value:
            raise InputError(f"--only takes COLUMN=VALUE, not {text!r}", hint="such as --only feature=chat")
        where.setdefault(name, []).append(value)
    numbers = {
        "batch_factor": _number("--batch-factor", batch_factor),
        "cached_share": _number("--cached", cached),
        "utilization": _number("--utilization", utilization),
    }
    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("pricing calls"):
        found = priced(
            opened,
            month,
            models=model or [],
            batch=batch,
            prices_on=None if prices_on is None else day(prices_on),
            self_host=self_host,
            **numbers,
            where=where,
            by=[by],
        )
    if as_json:
        frames = {
            "scenarios": found.scenarios,
            "bill": found.bill,
            "hosted": found.hosted,
            "moved": found.moved,
        }
        typer.echo(written(**frames, notes=found.notes))
    else:
        print_what_if(found)


def commitments(
    month: _Month,
    lab: LabOption = None,
    as_json: _Json = False,
) -> None:
    """Tell what commitments bring, what to commit to next, and when credits end.

    Offers and what is held are [[commitments]] in finops.toml, credits are [[credits]]. An offer is
    recommended only where the forecast behind it can be relied upon: the reason says what does not
    hold. Amounts of offers are of their whole term; regret is the cost beyond the best level in
    hindsight, had earlier months decided in the same way.

    Examples: finops-lab commitments --month 2026-10; finops-lab commitments --lab my-lab --month 2026-10 --json
    """
    from finops_lab.budgeting.commitments import commitments as planned
    from finops_lab.budgeting.credits import credits_cliff
    from finops_lab.lab import open_lab
    from finops_lab.printing_offers import as_json as written
    from finops_lab.printing_offers import print_cliff, print_commitments

    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("forecasting demand"):
        found = planned(opened, month)
        cliff = credits_cliff(opened, month)
    if as_json:
        checks = {name: one.checks for name, one in found.plans.items()}
        backtests = {name: one.backtest for name, one in found.plans.items()}
        typer.echo(
            written(
                held=found.held,
                coverage=found.coverage,
                offers=found.offers,
                checks=checks,
                backtests=backtests,
                ladders=found.ladders,
                credits=cliff.credits,
                ends=cliff.ends,
                bill=cliff.months,
                notes=found.notes,
            )
        )
        return
    print_commitments(found, opened.currency)
    print_cliff(cliff, opened.currency)


def _number(option: str, text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise InputError(f"{option} takes a number such as 0.5, not {text!r}")
    return number


def register() -> None:
    """Add the commands, after those that come first in the help."""
    app.command("what-if")(what_if)
    app.command()(commitments)
