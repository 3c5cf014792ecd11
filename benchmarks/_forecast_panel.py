"""What holds beyond one series: forecasts that add up, and the running month, on public data.

Hierarchies: random two-level sets of eight M4 monthly series (a total and its teams). Running month:
the real daily Google Cloud bill of mybinder.org by project, known through day 10, 15 and 20.
`forecast_accuracy.py` reports these figures with its own; alone: `python benchmarks/_forecast_panel.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from _form import Figure, report

from finops_lab.calendar import add_months, days_in_month
from finops_lab.forecasting import forecast
from finops_lab.forecasting.hierarchy import Tree, add_up, reconcile, tree
from finops_lab.forecasting.open_month import estimate

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "forecast"
LAST = date(2024, 12, 1)
HORIZON = 12
LENGTHS = (24, 36, 60)
SETS, TEAMS, SEED = 50, 8, 1
DAYS = {10: 0.98, 15: 0.86, 20: 0.80}
FIRST_MONTH, LAST_MONTH = date(2018, 3, 1), date(2019, 9, 1)
_Series = Mapping[str, tuple[np.ndarray, np.ndarray]]


def figures(take: int = 1) -> list[Figure]:
    """Measure with each `take`-th set; empty where the data is not there."""
    return [*hierarchy_figures(take), *open_month_figures()]


def hierarchy_figures(take: int = 1) -> list[Figure]:
    """Compare reconciled forecasts with bottom-up, direct and unreconciled ones.

    The mean of 50 sets is known to about 0.015; with fewer the figures inform only.
    """
    path = DATA / "m4_monthly" / "dev.parquet"
    if not path.exists():
        print("skipped: m4_monthly is not there")
        return []
    out = []
    print(
        "months  total: direct bottom-up reconciled   teams: alone reconciled   total inside 80%: own parts"
    )
    for length in LENGTHS:
        frame = pl.read_parquet(path).filter(pl.col("y").list.len() >= length)
        series = {uid: (np.array(y), np.array(test)) for uid, y, test in frame.iter_rows()}
        sets = _sets(series)[::take]
        base = _forecasts(sets, length)
        scores = np.array([_one_set(base, n, members) for n, members in enumerate(sets)]).mean(axis=0)
        direct, bottom, total, alone, teams, own, parts = map(float, scores)
        print(
            f"{length:>6} {direct:>14.3f} {bottom:>9.3f} {total:>10.3f} {alone:>14.3f} {teams:>10.3f}"
            f" {own:>23.2f} {parts:>5.2f}",
            flush=True,
        )
        name = f"forecast_accuracy/hierarchy/{length}m"
        out += [
            Figure(
                f"{name}/total_mase_ratio",
                total / min(direct, bottom),
                "ratio",
                "lower",
                1.01 if take == 1 else None,
                "better of bottom-up and direct",
            ),
            Figure(
                f"{name}/teams_mase_ratio",
                teams / alone,
                "ratio",
                "lower",
                1.02 if take == 1 else None,
                "unreconciled",
            ),
        ]
    return out


def panel(values: Mapping[str, list[float]], end: date) -> pl.DataFrame:
    """Put daily rates that end in month `end` into a long frame of monthly amounts.

    The series carry no dates: a value is taken as the mean daily rate of its month.
    """
    rows = [
        (uid, month, rate * days_in_month(month))
        for uid, rates in values.items()
        for i, rate in enumerate(rates)
        for month in [add_months(end, i - len(rates) + 1)]
    ]
    return pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")


def _sets(series: _Series) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    rng, names = np.random.default_rng(SEED), sorted(series)
    return [
        {f"team={uid}": series[uid] for uid in rng.choice(names, TEAMS, replace=False)} for _ in range(SETS)
    ]


def _forecasts(sets: list[dict[str, tuple[np.ndarray, np.ndarray]]], length: int) -> pl.DataFrame:
    """Forecast every team once and the total of every set, from their last months."""
    values = {uid: list(y[-length:]) for members in sets for uid, (y, _) in members.items()}
    for n, members in enumerate(sets):
        values[f"total {n}"] = list(np.sum([y[-length:] for y, _ in members.values()], axis=0))
    return forecast(panel(values, LAST), HORIZON)


def _one_set(base: pl.DataFrame, number: int, members: _Series) -> tuple[float, ...]:
    """Return total MASE direct, bottom-up, reconciled, teams' MASE alone and reconciled, coverages."""
    made: Tree = tree(pl.DataFrame({"team": sorted(uid.removeprefix("team=") for uid in members)}))
    truth = add_up(
        panel({uid: list(test[:HORIZON]) for uid, (_, test) in members.items()}, add_months(LAST, HORIZON)),
        made,
    )
    mine = pl.col("unique_id").replace({f"total {number}": "total"})
    base = base.with_columns(mine.alias("unique_id")).filter(pl.col("unique_id").is_in(["total", *members]))
    whole = min(len(y) for y, _ in members.values())
    known = {uid: y for uid, (y, _) in members.items()}
    known["total"] = np.sum([y[-whole:] for y in known.values()], axis=0)
    scale = pl.DataFrame(
        [(uid, float(np.abs(y[12:] - y[:-12]).mean())) for uid, y in known.items()],
        schema=["unique_id", "scale"],
        orient="row",
    )
    is_team = pl.col("unique_id") != "total"

    def mase(found: pl.DataFrame) -> pl.DataFrame:
        days = pl.col("ds").dt.days_in_month()
        error = (pl.col("yhat") - pl.col("y")).abs() / (pl.col("scale") * days)
        joined = found.join(truth, on=["unique_id", "ds"]).join(scale, on="unique_id")
        return joined.group_by(is_team.alias("team")).agg(error.mean()).sort("team")

    def total(found: pl.DataFrame) -> float:
        return float(mase(found.filter(~is_team)).item(0, 1))

    def inside(found: pl.DataFrame) -> float:
        joined = found.filter(~is_team).join(truth, on=["unique_id", "ds"])
        return float(joined.select(pl.col("y").is_between("lo_80", "hi_80").mean()).item())

    summed = base.filter(is_team).group_by("ds").agg(pl.col("yhat").sum())
    bottom = summed.with_columns(unique_id=pl.lit("total"))
    done = reconcile(base, made)
    halves = (
        base.filter(is_team)
        .group_by("ds")
        .agg(*[(pl.col(n) - pl.col("yhat")).pow(2).sum().sqrt().alias(n) for n in ("lo_80", "hi_80")])
    )
    parts = (
        done.filter(~is_team)
        .select("unique_id", "ds", "yhat")
        .join(halves, on="ds")
        .with_columns(lo_80=pl.col("yhat") - pl.col("lo_80"), hi_80=pl.col("yhat") + pl.col("hi_80"))
    )
    return (
        total(base),
        total(bottom),
        total(done),
        float(mase(base.filter(is_team)).item(0, 1)),
        float(mase(done.filter(is_team)).item(0, 1)),
        inside(done),
        inside(parts),
    )


def open_month_figures() -> list[Figure]:
    """Compare the running month's estimate with the run-rate on mybinder's real bill."""
    path = DATA / "cloud_spend" / "mybinder_daily_by_project.csv"
    if not path.exists():
        print("skipped: mybinder_daily_by_project is not there")
        return []
    daily = (
        pl.read_csv(path, try_parse_dates=True)
        .group_by(day="date")
        .agg(y=pl.col("cost").sum())
        .with_columns(unique_id=pl.lit("mybinder"))
    )
    months = daily.select(pl.col("day").dt.month_start().unique().sort()).to_series().to_list()
    out = []
    for day, target in DAYS.items():
        errors, naive, covered = [], [], []
        for month in months:
            if not FIRST_MONTH <= month <= LAST_MONTH:
                continue
            actual = daily.filter(pl.col("day").dt.month_start() == month)["y"].sum()
            made = estimate(daily, through=month.replace(day=day)).row(0, named=True)
            errors.append(abs(made["yhat"] / actual - 1))
            naive.append(abs(made["run_rate"] / actual - 1))
            if made["lo_80"] is not None:
                covered.append(made["lo_80"] <= actual <= made["hi_80"])
        ratio = float(np.mean(errors) / np.mean(naive))
        print(
            f"day {day}: MAPE {np.mean(errors):.2%}, run-rate {np.mean(naive):.2%}, {len(errors)} months,"
            f" inside 80%: {np.mean(covered):.0%}"
        )
        out.append(
            Figure(
                f"forecast_accuracy/open_month/day_{day}/mape_ratio",
                ratio,
                "ratio",
                "lower",
                target,
                "run-rate",
            )
        )
    return out


def main() -> int:
    """Run, print the tables, write the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--take", type=int, default=1, help="use each n-th set")
    args = parser.parse_args()
    report(figures(args.take), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
