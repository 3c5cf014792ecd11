"""Latency under an offered load: an open loop with Poisson arrivals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.profiling.blocks import Run, Workload
from finops_lab.tradeoffs.measurement import SWEEPS

__all__ = ["arrivals", "sweep"]


def arrivals(rate_per_s: float, requests: int, seed: int) -> npt.NDArray[np.float64]:
    """Draw the moments at which requests come, in seconds from the start.

    Parameters
    ----------
    rate_per_s : float
        Mean requests per second.
    requests : int
        How many.
    seed : int
        The same seed draws the same gaps, at every rate: rates and variants are compared on the same traffic.

    Returns
    -------
    numpy.ndarray
        Ascending.

    Raises
    ------
    InputError
        A rate or a count that is not positive.

    Examples
    --------
    >>> bool((arrivals(10, 50, seed=1) == 2 * arrivals(20, 50, seed=1)).all())
    True
    """
    if not rate_per_s > 0 or requests < 1:
        raise InputError(f"a load needs a positive rate and a request, not {rate_per_s} and {requests}")
    return np.random.default_rng([seed, requests]).exponential(size=requests).cumsum() / rate_per_s


def sweep(
    runs: Mapping[str, Run],
    workload: Workload,
    rates_per_s: Sequence[float],
    *,
    model: str,
    requests: int = 200,
    workers: int = 1,
    seed: int = 1,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> pl.DataFrame:
    """Offer each variant each load and measure latency from arrival to answer.

    The loop is open: requests come when they come, however late the answers are, so waiting counts
    and a slow variant cannot hide behind slow clients (coordinated omission). Workers take requests
    in the order of arrival. Variants and rates run in an order drawn from the seed.

    Parameters
    ----------
    runs : mapping of str to callable
        As for `time_blocks`; called by several threads when there are several workers.
    workload : Workload
        Request ``i`` runs input ``i``, from the start again after the last.
    rates_per_s : sequence of float
        Offered requests per second.
    model : str
        Whose variants these are.
    requests : int
        Of each run.
    workers : int
        Requests that are answered at a time.
    seed : int
        Of arrivals and order.
    waiting : callable, optional
        Takes the runs and a label, yields them: a progress bar.

    Returns
    -------
    polars.DataFrame
        `finops_lab.tradeoffs.measurement.SWEEPS`. ``served_per_s`` counts from the first arrival to
        the last answer; percentiles are of the smallest latency that reaches the share.

    Raises
    ------
    InputError
        No variant, or a rate, a count or a worker that is not positive.
    """
    if not runs or workers < 1:
        raise InputError("a sweep needs a variant and a worker at least")
    cells = [(name, rate) for name in runs for rate in rates_per_s]
    drawn = [cells[i] for i in np.random.default_rng(seed).permutation(len(cells))]
    found: dict[tuple[str, float], tuple[float, list[float]]] = {}
    for name, rate in drawn if waiting is None else waiting(drawn, f"{workload.name}, offered load"):
        runs[name](workload.inputs[0])
        found[name, rate] = _offered(runs[name], workload, arrivals(rate, requests, seed), workers)
    rows = []
    for name, rate in cells:
        served, latencies = found[name, rate]
        tail = [float(np.quantile(latencies, q, method="inverted_cdf")) for q in (0.5, 0.95, 0.99)]
        rows.append((model, name, workload.name, rate, served, requests, *[round(ms, 4) for ms in tail]))
    return pl.DataFrame(rows, schema=SWEEPS, orient="row")


def _offered(
    run: Run, workload: Workload, due: npt.NDArray[np.float64], workers: int
) -> tuple[float, list[float]]:
    """Return the answers per second and the latencies in ms of one run."""
    latencies = [0.0] * len(due)
    numbers, lock, failed = iter(range(len(due))), threading.Lock(), list[BaseException]()
    start = time.perf_counter()

    def work() -> None:
        while not failed:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            wait = due[i] - (time.perf_counter() - start)
            if wait > 0:
                time.sleep(wait)
            try:
                run(workload.inputs[i % len(workload.inputs)])
            except BaseException as error:  # a thread's error would be lost: it is raised below
                failed.append(error)
                return
            latencies[i] = (time.perf_counter() - start - due[i]) * 1e3

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    span = time.perf_counter() - start - due[0]
    return round(len(due) / span, 4), latencies
