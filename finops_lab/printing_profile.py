"""What the command line prints of a measurement."""

from __future__ import annotations

import sys

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.errors import printable
from finops_lab.tradeoffs.measurement import Measurement

__all__ = ["print_measurement", "side_by_side"]

_PAIR = ["model", "workload", "round"]


def side_by_side(found: Measurement) -> pl.DataFrame:
    """Put each variant beside the baseline, workload by workload.

    Parameters
    ----------
    found : Measurement
        Its provenance names the ``baseline``.

    Returns
    -------
    polars.DataFrame
        ``workload``, ``variant`` (String); ``rounds`` (Int64); ``clock`` (``gpu``, ``cpu`` or
        ``wall``: the first that was measured, String); ``p50_ms``, ``p95_ms`` of a round by that
        clock; ``ratio``: the median over the rounds of a round's time to the baseline's (Float64).

    Examples
    --------
    >>> timings = pl.DataFrame({"model": "m", "variant": ["a", "a", "b", "b"], "workload": "b1",
    ...     "round": [0, 1, 0, 1], "wall_ms": [2.0, 4.0, 1.0, 2.0]})
    >>> variants = pl.DataFrame({"model": "m", "variant": ["a", "b"]})
    >>> side_by_side(Measurement(variants, timings, provenance={"baseline": "a"}))["ratio"].to_list()
    [1.0, 0.5]
    """
    clocks = ["gpu_ms", "cpu_ms", "wall_ms"]
    rows = found.timings.with_columns(
        pl.coalesce(clocks).alias("ms"),
        pl.coalesce(*[pl.when(pl.col(c).is_not_null()).then(pl.lit(c[:-3])) for c in clocks]).alias("clock"),
    )
    against = rows.filter(variant=found.provenance.get("baseline")).select(*_PAIR, pl.col("ms").alias("base"))
    return (
        rows.join(against, on=_PAIR, how="left", maintain_order="left")
        .group_by("workload", "variant", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("rounds"),
            pl.col("clock").first(),
            pl.col("ms").quantile(0.5, "higher").alias("p50_ms"),
            pl.col("ms").quantile(0.95, "higher").alias("p95_ms"),
            (pl.col("ms") / pl.col("base")).median().alias("ratio"),
        )
    )


def print_measurement(found: Measurement) -> None:
    """Print a measurement: what variants are, how fast, how good, and how far to trust it.

    Parameters
    ----------
    found : Measurement
        What was measured.
    """
    console = Console() if sys.stdout.isatty() else Console(width=160, soft_wrap=True)
    baseline = str(found.provenance.get("baseline"))
    _variants(console, found)
    _times(console, side_by_side(found), baseline)
    _scores(console, found.outcomes, baseline)
    if found.sweeps.height:
        _loads(console, found.sweeps)
    machine = found.provenance.get("machine") or {}
    cpu, cores, load = (machine.get(name) for name in ("cpu", "cores", "load"))
    if load is not None and cores and load > cores:
        said = (
            f"note: {load:g} programs wanted {cores} cores: wall times are waits, CPU times and ratios hold"
        )
        console.print(said, markup=False)
    if found.provenance.get("form") == "small":
        console.print("note: the small form: its figures prove nothing", markup=False)
    console.print(f"measured on {printable(str(cpu))}, {cores} cores", markup=False)


def _variants(console: Console, found: Measurement) -> None:
    table = Table(title="Variants")
    for name in ("model", "variant", "precision", "runs on"):
        table.add_column(name)
    for name in ("file MiB", "memory MiB"):
        table.add_column(name, justify="right")
    for row in found.variants.iter_rows(named=True):
        runs_on = ", ".join(filter(None, (row["hardware"], row["serving"])))
        names = [printable(row[name] or "") for name in ("model", "variant", "precision")]
        sizes = ["" if row[name] is None else f"{row[name]:,.1f}" for name in ("size_mib", "memory_mib")]
        table.add_row(*map(escape, [*names, printable(runs_on)]), *sizes)
    console.print(table)


def _times(console: Console, rows: pl.DataFrame, baseline: str) -> None:
    table = Table(title="Time of a round; median of the rounds' ratios to the baseline")
    for name in ("workload", "variant"):
        table.add_column(name)
    for name in ("rounds", "clock", "P50 ms", "P95 ms", f"to {escape(printable(baseline))}"):
        table.add_column(name, justify="right")
    for workload, variant, rounds, clock, p50, p95, ratio in rows.iter_rows():
        to = "" if ratio is None else f"{ratio:.3f}"
        table.add_row(
            escape(printable(workload)),
            escape(printable(variant)),
            f"{rounds:,}",
            clock,
            f"{p50:,.3f}",
            f"{p95:,.3f}",
            to,
        )
    console.print(table)


def _scores(console: Console, outcomes: pl.DataFrame, baseline: str) -> None:
    if not outcomes.height:
        console.print("no labelled data: nothing is known of quality", markup=False)
        return
    keys = ["model", "dataset", "metric", "item"]
    against = outcomes.filter(variant=baseline).select(*keys, pl.col("value").alias("base"))
    rows = (
        outcomes.join(against, on=keys, how="left", maintain_order="left")
        .group_by("dataset", "metric", "variant", maintain_order=True)
        .agg(
            pl.len(),
            pl.col("value").mean(),
            (pl.col("value") - pl.col("base")).mean().alias("difference"),
            (pl.col("value") != pl.col("base")).sum().alias("differ"),
        )
    )
    table = Table(title="Quality, item by item")
    for name in ("data set", "metric", "variant"):
        table.add_column(name)
    for name in ("items", "mean", f"against {escape(printable(baseline))}", "items that differ"):
        table.add_column(name, justify="right")
    for dataset, metric, variant, items, mean, difference, differ in rows.iter_rows():
        names = [escape(printable(name)) for name in (dataset, metric, variant)]
        table.add_row(*names, f"{items:,}", f"{mean:.4f}", f"{difference:+.4f}", f"{differ:,}")
    console.print(table)


def _loads(console: Console, sweeps: pl.DataFrame) -> None:
    table = Table(title="Latency under load, from arrival to answer")
    for name in ("workload", "variant"):
        table.add_column(name)
    for name in ("offered/s", "served/s", "requests", "P50 ms", "P95 ms", "P99 ms"):
        table.add_column(name, justify="right")
    for row in sweeps.drop("model").iter_rows():
        variant, workload, offered, served, requests, *tail = row
        figures = [f"{offered:,.1f}", f"{served:,.1f}", f"{requests:,}", *[f"{ms:,.2f}" for ms in tail]]
        table.add_row(escape(printable(workload)), escape(printable(variant)), *figures)
    console.print(table)
