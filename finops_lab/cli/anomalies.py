"""`finops-lab anomalies` and `finops-lab alerts`: what departs from the expected, and who is told."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from finops_lab.calendar import parse_day, parse_moment
from finops_lab.cli._app import LabOption, app, spinner
from finops_lab.errors import InputError

__all__ = ["register"]

_Json = Annotated[Path | None, typer.Option("--json", help="Also write everything as JSON.", metavar="FILE")]
_Now = Annotated[
    str | None,
    typer.Option("--now", help="Look as of this moment (UTC). Default: now.", metavar="YYYY-MM-DD[THH:MM]"),
]


def anomalies(
    lab: LabOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", help="First day. Default: 30 days before the last one.", metavar="YYYY-MM-DD"
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Last day, included.", metavar="YYYY-MM-DD")
    ] = None,
    json: _Json = None,
    top: Annotated[int, typer.Option("--top", help="Events that are shown and explained.", min=1)] = 20,
    budget: Annotated[
        float | None,
        typer.Option(
            "--false-alarms",
            help="False alarms per slice and month. Default: [anomalies] in finops.toml, or 1.",
        ),
    ] = None,
    now: _Now = None,
) -> None:
    """Find anomalies in daily spend and telemetry, and say why they happened.

    Spend is judged by provider, service, team, model and feature, from the days before each day. Events
    that are part of another one are only written with --json. The money at stake is actual minus expected.

    Examples: finops-lab anomalies --since 2026-10-01 --until 2026-10-31;
    finops-lab anomalies --lab my-lab --json anomalies.json
    """
    from finops_lab.lab import open_lab
    from finops_lab.printing_anomalies import print_anomalies, write_json
    from finops_lab.watching import anomalies as found_in

    at = _moment(now)
    first, last = _day(since, "--since"), _day(until, "--until")
    opened = open_lab(lab, progress=sys.stderr.isatty())
    with spinner("looking at every day of every slice"):
        whole = found_in(opened, at=at, budget=budget)
        days = whole.days["day"]
        newest = last or (days.max() if days.len() else at.date())
        assert isinstance(newest, date)
        first = first or newest - timedelta(days=30)
        if newest < first:
            raise InputError(f"--until {newest} lies before --since {first}")
        found = whole.between(first, newest)
        roots = found.roots
        shown = roots.head(top)
        sentences = found.sentences(shown)
    title = f"Anomalies of {opened.name}, {first} to {newest}"
    print_anomalies(shown, sentences, title=title, left_out=roots.height - shown.height)
    if json is not None:
        known = {"lab": opened.name, "since": str(first), "until": str(newest), "at": f"{at:%Y-%m-%dT%H:%MZ}"}
        write_json(json, found.events, known, sentences, "events")
        typer.echo(f"wrote {found.events.height} events: {json}")


def alerts(
    since: Annotated[
        str, typer.Option("--since", help="First day, such as 2026-10-01.", metavar="YYYY-MM-DD")
    ],
    lab: LabOption = None,
    json: _Json = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send to [[sinks]] of finops.toml what was not sent yet.")
    ] = False,
    now: _Now = None,
) -> None:
    """Say who is to be told of what: pages and tickets, one for each cause.

    Rules are [[alerts]] and [[quiet]] in finops.toml, and built-in ones after them. Nothing is sent
    without --send, and nowhere but to [[sinks]].

    Examples: finops-lab alerts --since 2026-10-01 --now 2026-10-17; finops-lab alerts --lab my-lab
    --since 2026-11-01 --json alerts.json --send
    """
    from finops_lab.alerting import write_alerts
    from finops_lab.lab import open_lab
    from finops_lab.printing_anomalies import print_alerts, write_json
    from finops_lab.telling import alerts as told_of

    at, first = _moment(now), _day(since, "--since")
    assert first is not None
    if at.date() < first:
        raise InputError(f"--since {first} lies after now, {at:%Y-%m-%d}")
    opened = open_lab(lab, progress=sys.stderr.isatty())
    if send and not opened.config.sinks:
        raise InputError(
            "finops.toml has no sinks",
            file=opened.folder / "finops.toml",
            hint="write [[sinks]], or leave out --send",
        )
    with spinner("looking at every day of every slice"):
        made = told_of(opened, first, at=at).alerts
    print_alerts(made, title=f"Alerts of {opened.name} since {first}, at {at:%Y-%m-%d %H:%M} UTC")
    if json is not None:
        known = {"lab": opened.name, "since": str(first), "at": f"{at:%Y-%m-%dT%H:%MZ}"}
        write_json(json, made, known, {}, "alerts")
        typer.echo(f"wrote {made.height} alerts: {json}")
    if send:
        done = write_alerts(made, opened.config.sinks, folder=opened.folder, now=at)
        for sink, outcome, number in done.group_by("sink", "outcome").len().sort("sink", "outcome").rows():
            typer.echo(f"{sink}: {number} {outcome}")


def _moment(text: str | None) -> datetime:
    return datetime.now(UTC) if text is None else parse_moment(text, "--now")


def _day(text: str | None, name: str) -> date | None:
    return None if text is None else parse_day(text, name)


def register() -> None:
    """Add the commands, after those that come first in the help."""
    app.command()(anomalies)
    app.command()(alerts)
