"""What is planted in sample labs of many seeds is found, and labs without plants stay quiet.

Each seed writes a lab of its own, which is ingested, allocated and looked at as a user's would be. The
generator shares no code with the rooms that look. Labs of further seeds have nothing planted in them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import _form
import polars as pl
from _form import Figure

import finops_lab as fl
from finops_lab.anomalies import calibrate
from finops_lab.samples import generate
from finops_lab.watching import Watched, anomalies

FIRST, SEEDS, CLEAN = 301, 20, 5
MONEY = (0.75, 1.3)  # share of the planted money that an event must tell
IN_TIME = timedelta(minutes=30)
SOON = timedelta(days=3)
RUNAWAYS = 0.25  # false ones per lab and month, of dozens of jobs
HELD = 1.2  # times the budget of false alarms
# Nobody works at the turn of the year: it is no anomaly, and no weekday either.
TURN = (12, 20), 21


def lab_of(folder: Path, seed: int, *, plants: bool) -> Watched:
    """Write a lab and look at all its days."""
    generate(folder, seed, plants=plants)
    return anomalies(fl.open_lab(folder, progress=False), store=False)


def found(watched: Watched, truth: dict[str, Any]) -> dict[str, bool]:
    """Say of each planted truth that a detector is to find whether it was found."""
    events, out = watched.events, {}
    for one in (*truth["anomalies"], truth["runaway_retrain"]):
        first, last = (_moment(one[name]) for name in ("first_day", "last_day"))
        slices = [pl.col(f"x_{n}") == one[n] for n in ("service", "team", "feature") if one[n]]
        share = pl.col("excess_amount").cast(pl.Float64) / float(one["excess_effective_cost"])
        own = events.filter(
            pl.col("kind") == "spend",
            pl.col("first").is_between(first - timedelta(days=1), last),
            pl.any_horizontal(slices),
            share.is_between(*MONEY),
        )
        out[one["id"]] = own.height > 0
    job = events.filter(detector="runaway job", value=truth["runaway_retrain"]["job_id"])
    late = (job["detected"] - job["first"]).to_list()
    out["runaway retrain within 30 minutes"] = bool(late) and late[0] <= IN_TIME
    tag = truth["mis_tagged_team"]
    owner = events.filter(failure_mode="F4", value=tag["resource_name"])
    out["wrong tag"] = _near(owner, tag["since"])
    pool = truth["thrashing_pool"]
    out["thrashing pool"] = _near(events.filter(failure_mode="F3", value=pool["pool_id"]), pool["first_day"])
    incident = truth["incident"]
    broken = events.filter(
        pl.col("metric") == "error_rate", pl.col("x_feature").eq_missing(incident["feature"])
    )
    out["bad deploy"] = _near(broken, incident["deploy"]["ts"][:10])
    return out


def false_alarms(watched: Watched) -> tuple[int, float, int, float]:
    """Count false alarms of daily spend, slice-months, events that accuse somebody, and runaways a month."""
    days = watched.days.filter(pl.col("score").is_not_null()).sort(
        "dimension", "value", "BillingCurrency", "day"
    )
    (month, day), long = TURN
    turn = pl.any_horizontal(
        pl.col("day").is_between(
            pl.date(year, month, day), pl.date(year, month, day) + pl.duration(days=long)
        )
        for year in range(2023, 2027)
    )
    keys = ["dimension", "value", "BillingCurrency"]
    running = pl.any_horizontal(
        pl.col("alarm").shift(n).over(keys).fill_null(False) for n in range(1, calibrate.GAP + 2)
    )
    onsets = days.select((pl.col("alarm") & ~running & ~turn).sum()).item()
    months = days.select((~turn).sum()).item() / calibrate.MONTH
    # Spikes of spend are counted above; that some variants are less accurate is true of every lab.
    loud = watched.events.filter(pl.col("failure_mode").is_in(["F3", "F4", "F5", "F6", "F7"]))
    runaway = watched.events.filter(detector="runaway job").height
    jobs = watched.lab.table("training_jobs").select("ts_start").collect()["ts_start"]
    span = (jobs.max() - jobs.min()).days / calibrate.MONTH if len(jobs) else 1.0  # type: ignore[operator, union-attr]
    return onsets, months, loud.height, runaway / span


def main() -> int:
    """Run, print, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--first", type=int, default=FIRST, help=f"first seed (default {FIRST})")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"labs with plants (default {SEEDS})")
    parser.add_argument("--clean", type=int, default=CLEAN, help=f"labs without (default {CLEAN})")
    args = parser.parse_args()
    told: list[tuple[int, str, bool]] = []
    onsets, months, loud, runaways = 0, 0.0, 0, 0.0
    for n in range(args.seeds + args.clean):
        seed = args.first + n
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "lab"
            watched = lab_of(folder, seed, plants=n < args.seeds)
            if n < args.seeds:
                one = found(watched, json.loads((folder / "truth.json").read_text(encoding="utf-8")))
                told += [(seed, name, ok) for name, ok in one.items()]
                missed = [name for name, ok in one.items() if not ok]
                print(f"seed {seed}: {sum(one.values())} of {len(one)}", *missed, sep="; ", flush=True)
            else:
                some, span, wrong, ran = false_alarms(watched)
                onsets, months, loud, runaways = onsets + some, months + span, loud + wrong, runaways + ran
                modes = watched.events["failure_mode"].drop_nulls().value_counts(sort=True).rows()
                print(f"seed {seed}, nothing planted: {some} in {span:.0f} slice-months; {modes}", flush=True)
    figures = []
    if told:
        share = sum(ok for *_, ok in told) / len(told)
        figures.append(Figure("planted_truths/found", share, "share", "higher", 1.0))
    if months:
        name = "planted_truths/clean/false_alarms_of_spend"
        figures.append(Figure(name, onsets / months, "per slice and month", "lower", HELD))
        figures.append(Figure("planted_truths/clean/failure_modes", loud, "events", "lower", 0.0))
        name = "planted_truths/clean/runaway_jobs"
        figures.append(Figure(name, runaways / args.clean, "per lab and month", "lower", RUNAWAYS))
    _form.report(figures, args.json)
    return 0


def _moment(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _near(events: pl.DataFrame, day: str) -> bool:
    first = _moment(day)
    return events.filter(pl.col("first").is_between(first - timedelta(days=1), first + SOON)).height > 0


if __name__ == "__main__":
    sys.exit(main())
