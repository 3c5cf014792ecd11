"""From variants that run to a measurement: blocks, loads, and how it was all made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.profiling.blocks import Run, Workload, time_blocks
from finops_lab.profiling.clocks import Clock
from finops_lab.profiling.load import sweep
from finops_lab.profiling.machine import machine
from finops_lab.tradeoffs.measurement import OUTCOMES, SWEEPS, VARIANTS, Measurement

__all__ = ["Loads", "Variant", "chosen", "measure", "right_and_wrong"]


@dataclass(frozen=True)
class Variant:
    """A way to run a model.

    Parameters
    ----------
    run : callable
        Takes one input, returns when the answer is there.
    precision, hardware, serving : str, optional
        How it runs.
    size_mib, memory_mib : float, optional
        What it takes on disk and in memory.
    """

    run: Run
    precision: str | None = None
    hardware: str | None = None
    serving: str | None = None
    size_mib: float | None = None
    memory_mib: float | None = None


@dataclass(frozen=True)
class Loads:
    """The loads to offer to the first workload.

    Parameters
    ----------
    shares : sequence of float
        Of what the first variant can bear: 1 is one call after another, without a pause, per worker.
    requests : int
        Of each variant at each load. 459 are the least for a P99, 1,000 for a P95 within 10 %.
    workers : int
        Requests answered at a time.
    """

    shares: Sequence[float] = (0.3, 0.5, 0.7, 0.9)
    requests: int = 500
    workers: int = 1


def measure(
    model: str,
    variants: Mapping[str, Variant],
    workloads: Sequence[Workload],
    *,
    outcomes: pl.DataFrame | None = None,
    loads: Loads | None = None,
    seed: int = 1,
    warm_up: int = 5,
    clock: Clock | None = None,
    provenance: Mapping[str, Any] | None = None,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Measurement:
    """Time variants side by side and put down how.

    Parameters
    ----------
    model : str
        Whose variants these are.
    variants : mapping of str to Variant
        By name. The first is the baseline of the loads; comparisons may choose another.
    workloads : sequence of Workload
        As for `finops_lab.profiling.time_blocks`.
    outcomes : polars.DataFrame, optional
        `finops_lab.tradeoffs.measurement.OUTCOMES`, from `right_and_wrong`.
    loads : Loads, optional
        Also offer the first workload at these loads.
    seed, warm_up, clock, waiting
        As for `finops_lab.profiling.time_blocks`.
    provenance : mapping, optional
        What more there is to say: packages, model, data sets, date.

    Returns
    -------
    Measurement
        Its ``provenance`` holds ``machine``, ``load_after``, ``protocol``, ``seed``, ``baseline`` and
        what was given.

    Raises
    ------
    InputError
        No variant or no workload.

    Examples
    --------
    >>> two = {"plain": Variant(sorted), "reversed": Variant(lambda x: sorted(x, reverse=True))}
    >>> found = measure("sort", two, [Workload("b1", [[3, 1, 2]], items=1, rounds=4)])
    >>> found.timings.height, found.provenance["baseline"]
    (8, 'plain')
    """
    if not variants:
        raise InputError("a measurement needs a variant at least")
    before = machine()
    runs = {name: variant.run for name, variant in variants.items()}
    timings = time_blocks(
        runs, workloads, model=model, seed=seed, warm_up=warm_up, clock=clock, waiting=waiting
    )
    baseline = next(iter(variants))
    offered = pl.DataFrame(schema=SWEEPS)
    if loads is not None:
        first = workloads[0]
        one = timings.filter(variant=baseline, workload=first.name)["wall_ms"].median()
        most = loads.workers * first.calls * 1e3 / float(one)  # type: ignore[arg-type]
        offered = sweep(
            runs,
            first,
            [round(share * most, 3) for share in loads.shares],
            model=model,
            requests=loads.requests,
            workers=loads.workers,
            seed=seed,
            waiting=waiting,
        )
    told = [
        (model, name, v.precision, v.hardware, v.serving, v.size_mib, v.memory_mib)
        for name, v in variants.items()
    ]
    protocol: dict[str, Any] = {
        "design": "randomised complete blocks: a round runs every variant once on the same input",
        "warm_up_calls": warm_up,
        "rounds": {workload.name: workload.rounds for workload in workloads},
        "calls_in_a_round": {workload.name: workload.calls for workload in workloads},
        "tail": "a P95 within 10 % needs 1,000 rounds, a P99 at least 459",
    }
    if loads is not None:
        protocol["loads"] = {
            "arrivals": "Poisson, open loop; the same arrivals for every variant",
            "shares_of_the_baseline": list(loads.shares),
            "workers": loads.workers,
        }
    given = dict(provenance or {})
    return Measurement(
        pl.DataFrame(told, schema=VARIANTS, orient="row"),
        timings,
        pl.DataFrame(schema=OUTCOMES) if outcomes is None else outcomes,
        offered,
        {
            "machine": before,
            "load_after": machine()["load"],
            "seed": seed,
            "baseline": baseline,
            **given,
            "protocol": {**protocol, **given.get("protocol", {})},
        },
    )


def right_and_wrong(
    model: str, dataset: str, scores: Mapping[str, Sequence[float]], *, metric: str = "accuracy"
) -> pl.DataFrame:
    """Put the scores of every item side by side.

    Parameters
    ----------
    model, dataset : str
        Whose, and on what.
    scores : mapping of str to sequence of float
        By variant, in the order of the items; 1 right and 0 wrong for ``accuracy``.
    metric : str
        ``accuracy``, or ``mse``: squared errors, of which less is better.

    Returns
    -------
    polars.DataFrame
        `finops_lab.tradeoffs.measurement.OUTCOMES`; items are numbered from 0.

    Examples
    --------
    >>> found = right_and_wrong("m", "d", {"fp32": [1, 1], "int8": [1, 0]})
    >>> found.group_by("variant", maintain_order=True).agg(pl.col("value").mean()).rows()
    [('fp32', 1.0), ('int8', 0.5)]
    """
    rows = [
        (model, name, dataset, metric, item, float(value), metric == "accuracy")
        for name, values in scores.items()
        for item, value in enumerate(values)
    ]
    return pl.DataFrame(rows, schema=OUTCOMES, orient="row")


def chosen(names: Sequence[str] | None, known: Sequence[str], default: Sequence[str]) -> list[str]:
    """Return the variants to measure, each once and the baseline first.

    Parameters
    ----------
    names : sequence of str or None
        Asked for; None for the default.
    known : sequence of str
        All there are, the baseline first.
    default : sequence of str
        Of those known.

    Returns
    -------
    list of str
        In the order of those known.

    Raises
    ------
    InputError
        An unknown name.

    Examples
    --------
    >>> chosen(["int8"], ["fp32", "int8", "fp16"], ["fp32"])
    ['fp32', 'int8']
    """
    asked = list(default if names is None else names)
    for name in asked:
        if name not in known:
            raise InputError(f"no variant {name!r}", hint=f"known: {', '.join(known)}")
    return [name for name in known if name in asked or name == known[0]]
