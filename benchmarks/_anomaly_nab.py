"""The Numenta Anomaly Benchmark on the machine metrics at hand: its scorer, its windowed Gaussian, ours.

NAB (Lavin and Ahmad 2015, Ahmad et al. 2017, github.com/numenta/NAB) gives a find in a labelled window
up to one point, the earlier the more, takes up to 0.11 for a false one, and one for a missed window. The
formulas are those of its `nab/sweeper.py`; the published results are its
`results/windowedGaussian/windowedGaussian_standard_scores.csv`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from _anomaly_data import Floats
from _form import Figure

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "forecast" / "nab"
SET = "realAWSCloudwatch"
FALSE, PROBATION = 0.11, 0.15  # weight of a false alarm; share of a file that is not scored
# Published scores of the windowed Gaussian at its published threshold, standard profile.
PUBLISHED = {
    "ec2_cpu_utilization_24ae8d": -1.26667875935,
    "ec2_cpu_utilization_53ea38": -0.141423196117,
    "ec2_cpu_utilization_5f5533": -2.0,
    "ec2_cpu_utilization_77c1ca": -1.0,
    "ec2_cpu_utilization_825cc2": 0.956537840284,
    "ec2_cpu_utilization_ac20cd": 0.86067182427,
    "ec2_cpu_utilization_c6585a": -1.32,
    "ec2_cpu_utilization_fe7f93": 0.638757791772,
    "ec2_disk_write_bytes_1ef3de": -4.19089678552,
    "ec2_disk_write_bytes_c0d644": -1.09599853032,
    "ec2_network_in_257a54": 0.86067182427,
    "ec2_network_in_5abac7": -3.52193223519,
    "elb_request_count_8c0756": -0.138449197924,
    "grok_asg_anomaly": 2.37942230674,
    "iio_us-east-1_i-a2eb1cd9_NetworkIn": -2.0,
    "rds_cpu_utilization_cc0c53": -0.138449197924,
    "rds_cpu_utilization_e47b3b": -0.138449197924,
}
WINDOW = 6400  # points of the windowed Gaussian
DIGITS = 12  # with which its results were written, and its threshold of 1.0 set


@dataclass(frozen=True)
class File:
    """One series of NAB: values, and the labelled windows as first and last point."""

    name: str
    values: Floats
    windows: list[tuple[int, int]]


def files() -> list[File]:
    """Read the series at hand."""
    labels = json.loads((FOLDER / "combined_windows.json").read_text(encoding="utf-8"))
    out = []
    for path in sorted((FOLDER / SET).glob("*.csv")):
        rows = pl.read_csv(path, schema_overrides={"timestamp": pl.String, "value": pl.Float64})
        at = {datetime.fromisoformat(stamp): i for i, stamp in enumerate(rows["timestamp"])}
        windows = [
            (at[datetime.fromisoformat(a)], at[datetime.fromisoformat(b)])
            for a, b in labels[f"{SET}/{path.name}"]
        ]
        out.append(File(path.stem, rows["value"].to_numpy(), windows))
    return out


def weights(file: File) -> tuple[Floats, np.ndarray]:
    """Return what an alarm at each point is worth, and the window that it lies in (-1: none)."""
    n = len(file.values)
    worth, inside = np.full(n, -FALSE), np.full(n, -1)
    for i, (first, last) in enumerate(file.windows):
        width = last - first + 1
        here = np.arange(first, last + 1)
        worth[here] = _sigmoid(-(last - here + 1) / width) / _sigmoid(-1.0)
        inside[here] = i
        until = file.windows[i + 1][0] if i + 1 < len(file.windows) else n
        after = np.arange(last + 1, until)
        worth[after] = FALSE * np.where(
            (past := (after - last) / (width - 1)) >= 3, -1.0, _sigmoid(np.minimum(past, 3))
        )
    return worth, inside


def _sigmoid(position: float | Floats) -> Floats:
    return np.asarray(2 / (1 + np.exp(5 * np.asarray(position))) - 1)


def score(file: File, alarm: np.ndarray) -> float:
    """Return the score of a file: best find per window, false alarms, missed windows."""
    worth, inside = weights(file)
    start = min(math.floor(PROBATION * len(worth)), PROBATION * 5000)
    judged = np.arange(len(worth)) >= start
    alarm = alarm & judged
    total = float(worth[alarm & (inside < 0)].sum())
    for i in range(len(file.windows)):
        if (judged & (inside == i)).any():
            hits = worth[alarm & (inside == i)]
            total += float(hits.max()) if hits.size else -1.0
    return total


def gaussian(values: Floats) -> Floats:
    """Score by the tail of a normal distribution over the last 6,400 points, as NAB's detector does."""
    out = np.zeros(len(values))
    for t in range(1, len(values)):
        window = values[max(0, t - WINDOW) : t]
        sd = float(window.std()) or 1e-6
        out[t] = 1 - 0.5 * math.erfc(abs(values[t] - window.mean()) / sd / 1.4142)
    return out


def ours(series: list[File]) -> list[Floats]:
    """Run the one-pass detector of daily spend over points instead of days."""
    from finops_lab.anomalies.calibrate import scores
    from finops_lab.anomalies.expected import expect

    out = []
    for file in series:
        days = [date(1900, 1, 1) + timedelta(days=i) for i in range(len(file.values))]
        found = expect(file.values[None], np.zeros((1, len(file.values)), bool), days)
        out.append(np.nan_to_num(scores(found)[0][0], nan=-9.0))
    return out


def best(series: list[File], found: list[Floats]) -> float:
    """Return the normalised score at the best threshold: 0 is silence, 100 all found at once."""
    windows = sum(len(file.windows) for file in series)
    levels = np.quantile(np.concatenate(found), 1 - np.geomspace(1e-5, 0.05, 40))
    top = max(sum(score(f, s > level) for f, s in zip(series, found, strict=True)) for level in levels)
    return 100 * (top + windows) / (2 * windows)


def figures(take: int) -> Iterator[Figure]:
    """Yield how near the scorer is to the published results, and our score beside the Gaussian's."""
    if not FOLDER.exists():
        print("skipped: NAB is not there")
        return
    series = [file for file in files() if file.name in PUBLISHED][::take]
    tails = [gaussian(file.values) for file in series]
    own = [score(file, np.round(tail, DIGITS) >= 1.0) for file, tail in zip(series, tails, strict=True)]
    published = [PUBLISHED[file.name] for file in series]
    for file, a, b in zip(series, own, published, strict=True):
        if abs(a - b) > 0.01:
            print(f"  {file.name}: ours {a:.3f}, published {b:.3f}")
    windows = sum(len(file.windows) for file in series)
    a, b = (100 * (sum(x) + windows) / (2 * windows) for x in (own, published))
    print(f"NAB {SET}, {len(series)} files: windowed Gaussian {a:.2f}, published {b:.2f}", flush=True)
    yield Figure(
        "anomaly_accuracy/nab/scorer_off_published", abs(a - b), "points of 100", "lower", 0.5, "NAB"
    )
    yield Figure("anomaly_accuracy/nab/windowed_gaussian", best(series, tails), "points of 100", "higher")
    yield Figure("anomaly_accuracy/nab/ours", best(series, ours(series)), "points of 100", "higher")
