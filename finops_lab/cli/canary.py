"""`finops-lab canary`: a new variant tried on a part of the traffic, planned and judged."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from finops_lab.cli._app import LabOption, app, spinner
from finops_lab.errors import InputError

__all__ = ["register"]

canary = typer.Typer(
    name="canary",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Try a new variant of a model on a part of the traffic: plan it, and judge it at any time.",
)


class FailOnCanary(StrEnum):
    """Verdicts that can fail a run."""

    roll_back = "roll-back"
    hold = "hold"


_Feature = Annotated[
    str | None, typer.Option("--feature", help="Only its calls, and its promises.", metavar="NAME")
]
_Margin = Annotated[
    float,
    typer.Option("--margin", help="Loss of quality that is too much; 0.01 is one point.", metavar="SHARE"),
]
_Until = Annotated[
    str | None,
    typer.Option("--until", help="Calls before this moment count (UTC).", metavar="YYYY-MM-DD[THH:MM]"),
]
_MaxP95 = Annotated[
    float | None,
    typer.Option("--max-p95-ms", help="Limit of the P95 latency. Default: 10 % above the baseline's."),
]
_Increase = Annotated[
    float, typer.Option("--max-error-increase", help="Largest increase of the error rate.", metavar="SHARE")
]
_Alpha = Annotated[float, typer.Option("--alpha", help="Chance of a wrong verdict, each way.")]


@canary.command("plan")
def plan(
    model: Annotated[str, typer.Option("--model", help="The model.", metavar="NAME")],
    lab: LabOption = None,
    feature: _Feature = None,
    share: Annotated[
        list[float] | None,
        typer.Option("--share", help="Share of traffic; may be given several times.", metavar="0.05"),
    ] = None,
    margin: _Margin = 0.01,
    discordance: Annotated[
        float,
        typer.Option(
            "--discordance", help="Share of items that only one of the two gets right.", metavar="SHARE"
        ),
    ] = 0.02,
    loss: Annotated[
        float, typer.Option("--loss", help="True loss of quality to plan for.", metavar="SHARE")
    ] = 0.0,
    graded_share: Annotated[
        float,
        typer.Option("--graded-share", help="Share of the canary's calls that is graded.", metavar="SHARE"),
    ] = 1.0,
    max_p95_ms: _MaxP95 = None,
    max_error_increase: _Increase = 0.01,
    days: Annotated[int, typer.Option("--days", help="Days of calls to plan from.")] = 28,
    until: _Until = None,
    alpha: _Alpha = 0.05,
) -> None:
    """Say how much traffic for how many days a canary takes.

    From the calls that the model gets: how many there are, how many of them the log keeps, how often they
    fail, how slow they are, and which customers, features, regions, sizes and hours they are of.

    Examples: finops-lab canary plan --model larch-7b --margin 0.01;
    finops-lab canary plan --lab my-lab --model larch-7b --feature search-answers --share 0.05 --share 0.2
    """
    from finops_lab.lab import open_lab
    from finops_lab.printing_canary import print_plan
    from finops_lab.trying import plan_of

    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("looking at calls"):
        found = plan_of(
            opened,
            model=model,
            feature=feature,
            until=until,
            days=days,
            margin=margin,
            discordance=discordance,
            loss=loss,
            graded_share=graded_share,
            max_p95_ms=max_p95_ms,
            max_error_increase=max_error_increase,
            alpha=alpha,
            **({"shares": share} if share else {}),
        )
    print_plan(found)


@canary.command("check")
def check(
    baseline: Annotated[str, typer.Option("--baseline", help="Variant, or arm of the file.", metavar="NAME")],
    canary_name: Annotated[
        str, typer.Option("--canary", help="Variant, or arm of the file.", metavar="NAME")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model; without it --outcomes alone is judged.", metavar="NAME"),
    ] = None,
    lab: LabOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Begin of the canary (UTC). Default: the last deployment.",
            metavar="YYYY-MM-DD[THH:MM]",
        ),
    ] = None,
    until: _Until = None,
    feature: _Feature = None,
    outcomes: Annotated[
        Path | None,
        typer.Option(
            "--outcomes",
            help="Graded items (.parquet, .csv, .jsonl): item, arm and value, or item and a column per arm.",
            metavar="FILE",
        ),
    ] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="Of the values in --outcomes.")
    ] = False,
    metric: Annotated[
        str, typer.Option("--metric", help="Of the lab's evaluations.", metavar="NAME")
    ] = "accuracy",
    margin: _Margin = 0.01,
    discordance: Annotated[
        float | None,
        typer.Option("--discordance", help="As planned: the test is set for it.", metavar="SHARE"),
    ] = None,
    max_p95_ms: _MaxP95 = None,
    max_error_increase: _Increase = 0.01,
    alpha: _Alpha = 0.05,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the checks as CSV or Parquet.", metavar="FILE")
    ] = None,
    fail_on: Annotated[
        FailOnCanary | None,
        typer.Option("--fail-on", help="Exit with 3 on roll back; with `hold`, on all but promote."),
    ] = None,
) -> None:
    """Judge a canary: promote, hold or roll back, with the evidence.

    Quality, P95 latency, error rate, error budgets and the mix of traffic, each ok, breached or unknown
    with how much is still needed. Look as often as you like: the chance of a wrong verdict holds over all
    looks together.

    Examples: finops-lab canary check --model larch-7b --baseline bf16 --canary int8 --since 2026-10-01;
    finops-lab canary check --outcomes graded.parquet --baseline bf16 --canary int8 --margin 0.005 --fail-on hold
    """
    from finops_lab.lab import open_lab
    from finops_lab.printing_canary import print_verdict, read_outcomes, write_checks
    from finops_lab.tradeoffs.canary import canary_check
    from finops_lab.trying import canary_of

    if model is None and outcomes is None:
        raise InputError(
            "say what to judge", hint="give --model for a lab's calls, --outcomes for graded items"
        )
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise InputError("must end in .csv or .parquet", file=out)
    graded = None if outcomes is None else read_outcomes(outcomes)
    settings: dict[str, Any] = {
        "margin": margin,
        "discordance": discordance,
        "alpha": alpha,
        "higher_is_better": not lower_is_better,
    }
    if model is None:
        for name, given in (("--since", since), ("--until", until), ("--feature", feature), ("--lab", lab)):
            if given is not None:
                raise InputError(f"{name} needs --model", hint="or leave it out, to judge --outcomes alone")
        with spinner("judging"):
            found = canary_check(graded, baseline=baseline, canary=canary_name, **settings)
    else:
        opened = open_lab(lab, progress=sys.stderr.isatty())
        with spinner("judging"):
            found = canary_of(
                opened,
                model=model,
                baseline=baseline,
                canary=canary_name,
                since=since,
                until=until,
                feature=feature,
                outcomes=graded,
                metric=metric,
                max_p95_ms=max_p95_ms,
                max_error_increase=max_error_increase,
                **settings,
            )
    print_verdict(found)
    if out is not None:
        write_checks(found.checks, out)
        typer.echo(f"wrote {found.checks.height} checks: {out}")
    bad = {FailOnCanary.roll_back: ("roll back",), FailOnCanary.hold: ("roll back", "hold")}
    if fail_on is not None and found.verdict in bad[fail_on]:
        raise typer.Exit(3)


def register() -> None:
    """Add the commands, after those that come first in the help."""
    app.add_typer(canary)
