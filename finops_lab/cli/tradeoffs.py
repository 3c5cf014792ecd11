"""`finops-lab tradeoff`: which variant of a model to run."""

from __future__ import annotations

import json
import sys
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finops_lab.cli._app import LabOption, app, spinner, write_page
from finops_lab.errors import InputError

if TYPE_CHECKING:
    from finops_lab.tradeoffs.curve import Curve
    from finops_lab.tradeoffs.decide import Limits

__all__ = ["register"]


class Objective(StrEnum):
    """What is to be small."""

    cost = "cost"
    cost_per_success = "cost_per_success"


def tradeoff(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A measurement of `finops-lab profile`, or a table of variants (.csv, .parquet, .json). "
            "Default: what the lab's bill, requests and evaluations say.",
            metavar="FILE",
        ),
    ] = None,
    lab: LabOption = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Decide for this model; needed where there are several.")
    ] = None,
    month: Annotated[
        str | None,
        typer.Option(
            "--month", help="Last month of use that counts, of a lab. The sample's default: 2026-10."
        ),
    ] = None,
    months: Annotated[
        int | None,
        typer.Option("--months", min=1, max=24, help="How many months count, of a lab. Default: 3."),
    ] = None,
    workload: Annotated[
        str | None, typer.Option("--workload", help="Which workload of a measurement, such as short_b1.")
    ] = None,
    quality: Annotated[str | None, typer.Option("--quality", help="The quality metric.")] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Variant to compare with. Default: the best quality.")
    ] = None,
    max_p95_ms: Annotated[
        float | None,
        typer.Option("--max-p95-ms", help="P95 latency at most; the worst window's where it is known."),
    ] = None,
    max_quality_loss: Annotated[
        float | None,
        typer.Option(
            "--max-quality-loss", help="In the metric's unit: 0.005 of an accuracy is half a point."
        ),
    ] = None,
    max_memory_mib: Annotated[float | None, typer.Option("--max-memory-mib", help="Memory at most.")] = None,
    max_monthly: Annotated[
        str | None,
        typer.Option("--max-monthly", help="Budget of a month; of a file it needs --monthly-inferences."),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", help="Allowed region; may be repeated.")
    ] = None,
    objective: Annotated[
        Objective, typer.Option("--objective", help="What is to be small.")
    ] = Objective.cost,
    monthly_inferences: Annotated[
        float | None,
        typer.Option(
            "--monthly-inferences",
            help="Traffic of a month that is expected. Default of a lab: the last month's successful calls.",
        ),
    ] = None,
    migration: Annotated[
        str | None, typer.Option("--migration", help="What moving costs once, in the variants' currency.")
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option("--evaluation", help="What evaluating it costs once.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="US dollars per hour of the measured machine.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Also write one offline page with sliders.", metavar="FILE"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--json", help="Also write the decision as JSON.", metavar="FILE")
    ] = None,
) -> None:
    """Say which variant of a model to run, what each limit costs, and when the choice flips.

    Among the variants within the limits the cheapest is chosen. The tables say what every limit
    costs, from which latency on another variant wins, and after how many inferences a move pays.

    Examples: finops-lab tradeoff --model larch-70b --max-p95-ms 900 --max-quality-loss 0.005;
    finops-lab tradeoff minilm.measurement.json --workload short_b1 --max-quality-loss 0.005 --rate 0.05
    --migration 4000 --monthly-inferences 30000000 --html tradeoff.html
    """
    from finops_lab.printing_tradeoff import print_decision
    from finops_lab.tradeoffs.decide import decide

    month, months = _span(file, lab, month, months)
    with spinner("putting variants side by side"):
        found = _curve(file, lab, month, months, workload, quality, rate)
    one = _of_one_model(found, model)
    if monthly_inferences is None and file is None:
        monthly_inferences = float(one.points["last_successes"].sum()) or None
    # What has no slider holds on the page, too.
    fixed: Limits = {
        "baseline": baseline,
        "max_memory_mib": max_memory_mib,
        "regions": region or None,
        "objective": objective.value,
    }
    asked: Limits = fixed | {
        "max_p95_ms": max_p95_ms,
        "max_quality_loss": max_quality_loss,
        "max_monthly_amount": _money(max_monthly, "--max-monthly"),
        "monthly_inferences": monthly_inferences,
        "migration_amount": _money(migration, "--migration"),
        "evaluation_amount": _money(evaluation, "--evaluation"),
    }
    decision = decide(one, **asked)
    print_decision(decision)
    if page is not None:
        from finops_lab.reporting.tradeoff_page import tradeoff_page

        text = tradeoff_page(
            decision,
            [decide(one, **fixed)],
            monthly_inferences=monthly_inferences,
            source=_source(file, lab, month, months),
        )
        write_page(page, text)
        typer.echo(f"page: {page}")
    if out is not None:
        write_page(out, _as_json(decision))
        typer.echo(f"decision: {out}")


def _span(file: Path | None, lab: Path | None, month: str | None, months: int | None) -> tuple[str, int]:
    """Return the last month that counts and how many do; a file has none."""
    if file is not None and (month is not None or months is not None):
        raise InputError("--month and --months are for labs: a file is taken as it is")
    if lab is not None and month is None:
        raise InputError("a lab needs --month, the last month of use that counts", hint="--month 2026-10")
    return month or "2026-10", months or 3


def _curve(
    file: Path | None,
    lab: Path | None,
    month: str,
    months: int,
    workload: str | None,
    quality: str | None,
    rate: float | None,
) -> Curve:
    from finops_lab.tradeoffs.curve import curve

    if file is not None:
        if lab is not None:
            raise InputError("give either a file or --lab, not both")
        return curve(file, workload=workload, quality=quality, rate_usd_per_hour=rate)
    if workload is not None or rate is not None:
        raise InputError("--workload and --rate are for files", hint="name a measurement file")
    import polars as pl

    from finops_lab import choosing
    from finops_lab.calendar import add_months, format_month, parse_month
    from finops_lab.lab import open_lab

    last = parse_month(month)
    opened = open_lab(lab, progress=sys.stderr.isatty())
    first = format_month(add_months(last, 1 - months))
    points = choosing.variants(opened, first, month, quality=quality or "accuracy")
    # As `choosing.decide`: what was billed but never called is no variant to run.
    return curve(points.filter(pl.col("requests").is_not_null()))


def _of_one_model(found: Curve, model: str | None) -> Curve:
    """Keep one model: variants of different models seldom do the same work."""
    from dataclasses import replace
    from difflib import get_close_matches

    import polars as pl

    names = found.points["model"].drop_nulls().unique().sort().to_list()
    if model is None:
        if len(names) > 1:
            raise InputError(f"there are several models: {', '.join(names)}", hint="choose one with --model")
        return found
    if model not in names:
        close = get_close_matches(model, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
        raise InputError(f"there is no model {model!r}", hint=hint)
    return replace(found, points=found.points.filter(pl.col("model") == model))


def _money(text: str | None, option: str) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InputError(f"{option} must be an amount such as 4000, not {text!r}") from None
    if not amount.is_finite() or amount < 0:
        raise InputError(f"{option} must be an amount from 0 up, not {text!r}")
    return amount


def _source(file: Path | None, lab: Path | None, month: str, months: int) -> str:
    if file is not None:
        return file.name
    which = f"lab {lab.name}" if lab is not None else "the packaged synthetic sample lab"
    return f"{which}, {months} month{'s' if months > 1 else ''} to {month}"


def _as_json(decision: Any) -> str:
    kept = {
        "says": decision.explain(),
        "unit": decision.unit,
        "metric": decision.metric,
        "chosen": decision.chosen,
        "runner_up": decision.runner_up,
        "reference": decision.reference,
        "variants": decision.table.to_dicts(),
        "constraints": decision.constraints.to_dicts(),
        "slo_ranges": decision.slo_ranges.to_dicts(),
        "loss_ranges": decision.loss_ranges.to_dicts(),
        "break_even": None if decision.break_even is None else vars(decision.break_even),
        "notes": list(decision.notes),
    }
    return json.dumps(kept, indent=1, ensure_ascii=False, default=str) + "\n"


def register() -> None:
    """Add the command, after those that come first in the help."""
    app.command()(tradeoff)
