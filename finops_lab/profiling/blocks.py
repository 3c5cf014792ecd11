"""Randomised complete blocks: every round runs every variant on the same input, in an order of its own.

What slows a shared machine for a while then slows all variants of a round, and their ratio stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from finops_lab.errors import InputError
from finops_lab.profiling.clocks import Clock, CpuClock
from finops_lab.tradeoffs.measurement import TIMINGS

__all__ = ["Run", "Workload", "orders", "time_blocks"]

Run = Callable[[Any], object]
"""One call of a variant on one input: returns when the answer is there."""


@dataclass(frozen=True)
class Workload:
    """Inputs that are alike, such as single short texts.

    Parameters
    ----------
    name : str
        ``short_b1``, ``long_b1``, ``batch32``, ...
    inputs : sequence
        Round ``i`` runs input ``i``, from the start again after the last.
    items : int
        Inferences in one input: the size of the batch.
    tokens : sequence of int, optional
        Tokens of each input, padding not counted.
    rounds : int
        How often each variant is timed.
    calls : int
        Calls in a round. More than one where a meter (of energy) is too slow for a single call.
    """

    name: str
    inputs: Sequence[Any]
    items: int
    rounds: int
    tokens: Sequence[int] | None = None
    calls: int = 1

    def __post_init__(self) -> None:
        if not len(self.inputs) or self.rounds < 1 or self.items < 1 or self.calls < 1:
            raise InputError(
                f"workload {self.name} needs an input, a round, an inference and a call at least"
            )


def orders(variants: Sequence[str], rounds: int, seed: int, workload: str = "") -> list[list[str]]:
    """Draw the order of the variants in every round.

    Parameters
    ----------
    variants : sequence of str
        All of them stand in every round, once.
    rounds : int
        How many orders.
    seed : int
        The same seed draws the same orders, another for each workload.
    workload : str
        Its name.

    Returns
    -------
    list of list of str

    Examples
    --------
    >>> orders(["fp32", "int8"], 3, seed=1)
    [['fp32', 'int8'], ['fp32', 'int8'], ['int8', 'fp32']]
    """
    random = np.random.default_rng([seed, *workload.encode()])
    return [[variants[i] for i in random.permutation(len(variants))] for _ in range(rounds)]


def time_blocks(
    runs: Mapping[str, Run],
    workloads: Sequence[Workload],
    *,
    model: str,
    seed: int = 1,
    warm_up: int = 5,
    clock: Clock | None = None,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> pl.DataFrame:
    """Time variants side by side.

    Parameters
    ----------
    runs : mapping of str to callable
        What answers, by variant. At least two make a comparison, one is timed too.
    workloads : sequence of Workload
        Measured one after the other.
    model : str
        Whose variants these are.
    seed : int
        Of the orders.
    warm_up : int
        Untimed calls of each variant before each workload.
    clock : Clock, optional
        `CpuClock` unless given.
    waiting : callable, optional
        Takes the rounds and a label, yields them: a progress bar.

    Returns
    -------
    polars.DataFrame
        `finops_lab.tradeoffs.measurement.TIMINGS`: a row per workload, variant and round, in this
        order. Times are of the whole round. Rounded to 0.1 microseconds.

    Raises
    ------
    InputError
        No variant or no workload.
    """
    if not runs or not workloads:
        raise InputError("timing needs a variant and a workload at least")
    meter = CpuClock() if clock is None else clock
    names = list(runs)
    rows: list[tuple[object, ...]] = []
    for workload in workloads:
        for name in names:
            for i in range(warm_up):
                runs[name](workload.inputs[i % len(workload.inputs)])
        drawn = list(enumerate(orders(names, workload.rounds, seed, workload.name)))
        for i, order in drawn if waiting is None else waiting(drawn, workload.name):
            place = i % len(workload.inputs)
            tokens = None if workload.tokens is None else workload.tokens[place] * workload.calls
            for name in order:
                spent = meter.time(runs[name], workload.inputs[place], workload.calls)
                rows.append((model, name, workload.name, i, workload.items * workload.calls, tokens, *spent))
    frame = pl.DataFrame(rows, schema=TIMINGS, orient="row")
    ranks = {name: place for place, name in enumerate([w.name for w in workloads])}
    return frame.sort(
        pl.col("workload").replace_strict(ranks),
        pl.col("variant").replace_strict({name: i for i, name in enumerate(names)}),
        "round",
    )
