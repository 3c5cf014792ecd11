"""The synthetic sample lab: a made-up company's raw exports with planted truths.

Nothing here imports the rooms that later find the truths again.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.samples import config_text, plans, readme, truth
from finops_lab.samples.capacity import capacity
from finops_lab.samples.charges import concat
from finops_lab.samples.commitments import commit
from finops_lab.samples.compute import nonprod, serving
from finops_lab.samples.demand import demand
from finops_lab.samples.deploys import deploys
from finops_lab.samples.focus import write_bills
from finops_lab.samples.histograms import histograms
from finops_lab.samples.operations import Operations
from finops_lab.samples.overhead import daily, monthly
from finops_lab.samples.plants import Plants
from finops_lab.samples.requests import write_litellm, write_otlp
from finops_lab.samples.telemetry import accuracy, feature_value, gpu_samples
from finops_lab.samples.tokens import token_bill
from finops_lab.samples.traces import traced
from finops_lab.samples.traffic import sample
from finops_lab.samples.training import evictions_table, jobs, jobs_table, training_bill

__all__ = ["generate"]


def generate(out: Path, seed: int = 1, *, plants: bool = True) -> None:
    """Write the sample lab: `finops.toml`, `exports/`, `plans/`, `truth.json` and `README.md`.

    Parameters
    ----------
    out : pathlib.Path
        The lab's folder; made when missing. Files of an earlier run are overwritten.
    seed : int
        The same seed writes the same bytes (on the locked versions of numpy and polars).
    plants : bool
        False plants no anomaly, runaway job, wrong tag, price change, launch, restatement,
        correction, end of credits, incident or odd autoscaler: a check must find nothing.

    Raises
    ------
    InputError
        When `out` is a file or the seed is negative.

    Examples
    --------
    >>> generate(Path(__file__))
    Traceback (most recent call last):
    ...
    finops_lab.errors.InputError: ...__init__.py: is a file, not a folder
    """
    if seed < 0:
        raise InputError(f"the seed must not be negative, it is {seed}")
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", file=out)
    planted = Plants(plants)
    volume = demand(seed, planted)
    training = jobs(seed, planted)
    charges = concat(
        [
            serving(seed, volume, planted),
            nonprod(seed, volume, planted),
            token_bill(seed, volume, planted),
            training_bill(training),
            daily(seed, volume, planted),
        ]
    )
    charges = commit(charges)
    charges = concat([charges, monthly(charges, planted)])

    exports = out / "exports"
    for folder in ("capacity", "deploys", "evaluations", "gpu", "latency", "spot", "training", "value"):
        (exports / folder).mkdir(parents=True, exist_ok=True)
    write_bills(exports, seed, charges, planted)
    write_litellm(exports / "requests" / "litellm", sample(seed, volume, api=True), planted)
    own_calls = traced(seed, sample(seed, volume, api=False), volume, planted)
    write_otlp(exports / "requests" / "otlp", own_calls)
    _parquet(gpu_samples(seed), exports / "gpu" / "gpu_samples.parquet")
    series, events = capacity(seed, volume, planted)
    _parquet(series, exports / "capacity" / "capacity_series.parquet")
    _parquet(events, exports / "capacity" / "scale_events.parquet")
    _parquet(histograms(seed, volume), exports / "latency" / "latency_histograms.parquet")
    changes = deploys(seed, training, planted)
    changes.write_csv(exports / "deploys" / "deploys.csv")
    _parquet(accuracy(seed), exports / "evaluations" / "accuracy_samples.parquet")
    jobs_table(training).write_csv(exports / "training" / "training_jobs.csv")
    evictions_table(seed, training).write_csv(exports / "spot" / "spot_evictions.csv")
    feature_value(seed, volume).write_csv(exports / "value" / "feature_value.csv")
    (out / "plans").mkdir(exist_ok=True)
    for name, text in (
        ("plans/feature-budget.toml", plans.render(seed)),
        ("finops.toml", config_text.render(planted)),
        ("truth.json", truth.render(seed, charges, planted, Operations(own_calls, series, events, changes))),
        ("README.md", readme.render(seed)),
    ):
        (out / name).write_text(text, encoding="utf-8", newline="\n")


def _parquet(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="zstd", compression_level=15)
