"""Your own model: variants that a function of yours gives, on a file of yours."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from finops_lab.errors import InputError
from finops_lab.profiling.blocks import Run, Workload
from finops_lab.profiling.clocks import CpuClock
from finops_lab.profiling.machine import packages
from finops_lab.profiling.measure import Loads, Variant, measure, right_and_wrong
from finops_lab.profiling.texts import read_rows
from finops_lab.tradeoffs.measurement import Measurement

__all__ = ["METRICS", "load_callable", "profile_callable"]

METRICS = ("accuracy", "mse")
_LABEL = "label"
_POOL, _BATCH = 64, 32


def load_callable(name: str) -> dict[str, Variant]:
    """Import a function by its name and ask it for the variants of a model.

    Parameters
    ----------
    name : str
        ``module:function``. The module is imported from the working folder or from what is installed.

    Returns
    -------
    dict of str to Variant
        By name, in the function's order: the first is the baseline.

    Raises
    ------
    InputError
        No such module or function, it fails, or it gives no mapping of callables.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise InputError(f"{name!r} names no function", hint="write it like my_model:variants")
    sys.path.insert(0, os.getcwd())
    try:
        make = getattr(importlib.import_module(module), function, None)
        given = make() if callable(make) else None
    except Exception as error:  # code of others may raise anything
        raise InputError(f"{name}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(make):
        raise InputError(f"{module} has no function {function!r}")
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            f"{name} gave {type(given).__name__}, not variants",
            hint="return {'fp32': callable, 'int8': callable}: each takes a polars.DataFrame and "
            "returns one answer a row",
        )
    found = {}
    for variant, made in given.items():
        if not isinstance(made, Variant) and not callable(made):
            raise InputError(f"{name}: variant {variant!r} is no callable but {type(made).__name__}")
        found[str(variant)] = made if isinstance(made, Variant) else Variant(made)
    return found


def profile_callable(
    name: str,
    dataset: Path,
    *,
    label: str = _LABEL,
    metric: str = "accuracy",
    variants: Sequence[str] | None = None,
    small: bool = False,
    rounds: int | None = None,
    loads: Loads | None = None,
    seed: int = 1,
    today: date | None = None,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Measurement:
    """Measure variants of a model of yours.

    Parameters
    ----------
    name : str
        ``module:function``, as for `load_callable`. The function takes nothing and returns a mapping
        of variant to callable (or to `Variant`, which also says precision and size). A callable takes
        a polars.DataFrame, rows of the data set without the label, and returns one answer a row.
    dataset : pathlib.Path
        Parquet or CSV. All rows with a right answer are answered once by every variant.
    label : str
        The column of right answers. Without a column ``label`` there are timings only; another name
        must be there.
    metric : str
        ``accuracy`` (answer equals label, compared as text) or ``mse`` (squared difference).
    variants : sequence of str, optional
        Only these and the first.
    small : bool
        Fewer rounds.
    rounds : int, optional
        Of single rows (300 unless given); batches get a tenth.
    loads : Loads, optional
        Also measure the latency of single rows under these loads.
    seed : int
        Of orders and of the rows that are timed.
    today : datetime.date, optional
        Put down as the date.
    waiting : callable, optional
        As for `finops_lab.profiling.time_blocks`.

    Returns
    -------
    Measurement
        Workloads ``short_b1`` and ``long_b1`` (rows whose texts are in the shortest half, the longest
        tenth) where the data set has texts, else ``b1``; and ``batch32``. CPU time is of the whole process,
        with the thread pools of numeric libraries held to one thread.

    Raises
    ------
    InputError
        The function, a variant, an answer or the data set cannot be used.
    """
    from threadpoolctl import threadpool_limits

    if metric not in METRICS:
        raise InputError(f"no metric {metric!r}", hint=f"known: {', '.join(METRICS)}")
    frame = read_rows(dataset)
    if not frame.height:
        raise InputError("holds no row", file=dataset)
    given = load_callable(name)
    if variants is not None:
        for wanted in variants:
            if wanted not in given:
                raise InputError(f"{name} gives no variant {wanted!r}", hint=f"it gives {', '.join(given)}")
        first = next(iter(given))
        given = {n: v for n, v in given.items() if n in variants or n == first}
    if label not in frame.columns and label != _LABEL:
        raise InputError(
            "no such column", file=dataset, column=label, hint=f"known: {', '.join(frame.columns)}"
        )
    # A row whose right answer is not known tells of times, not of quality.
    graded = frame.drop_nulls(label) if label in frame.columns else frame.clear()
    rows = frame.drop(label, strict=False)
    if not rows.width:
        raise InputError("holds nothing but the label", file=dataset, column=label)
    made = {
        variant: Variant(
            _named(f"{name}, variant {variant}", v.run),
            v.precision,
            v.hardware or "cpu",
            v.serving,
            v.size_mib,
            v.memory_mib,
        )
        for variant, v in given.items()
    }
    module = name.partition(":")[0].rpartition(".")[2]
    single = (60 if small else 300) if rounds is None else rounds
    with threadpool_limits(1):
        scores = (
            {}
            if graded.is_empty()
            else {
                variant: _scores(v.run, graded.drop(label), graded[label], metric, variant)
                for variant, v in made.items()
            }
        )
        return measure(
            module,
            made,
            _workloads(rows, single, seed),
            outcomes=right_and_wrong(module, dataset.stem, scores, metric=metric) if scores else None,
            loads=loads,
            seed=seed,
            clock=CpuClock(whole_process=True),
            provenance={
                "date": None if today is None else today.isoformat(),
                "packages": packages(["numpy", "polars", "onnxruntime", "torch", "scikit-learn"]),
                "model": {"name": module, "callable": name},
                "datasets": [{"name": dataset.stem, "tested": graded.height}],
                "protocol": {
                    "clock": "wall and process CPU time",
                    "threads": "numeric libraries held to 1",
                },
            },
            waiting=waiting,
        )


def _named(name: str, run: Run) -> Run:
    """Say which variant failed."""

    def call(given: Any) -> object:
        try:
            return run(given)
        except Exception as error:  # code of others may raise anything
            raise InputError(f"{name}: {type(error).__name__}: {error}") from error

    return call


def _scores(run: Run, rows: pl.DataFrame, right: pl.Series, metric: str, variant: str) -> list[float]:
    answers: list[Any] = []
    for part in rows.iter_slices(_BATCH):
        found = list(run(part))  # type: ignore[call-overload]
        if len(found) != part.height:
            raise InputError(
                f"variant {variant} gave {len(found)} answers to {part.height} rows",
                hint="return one answer a row",
            )
        answers += found
    if metric == "accuracy":
        return [float(str(a) == str(r)) for a, r in zip(answers, right, strict=True)]
    try:
        return [(float(a) - float(r)) ** 2 for a, r in zip(answers, right, strict=True)]
    except (TypeError, ValueError) as error:
        raise InputError(f"variant {variant}: mse needs numbers: {error}") from error


def _workloads(rows: pl.DataFrame, single: int, seed: int) -> list[Workload]:
    """Draw rows to time: the same for all variants."""
    random = np.random.default_rng(seed)
    texts = [name for name, kind in rows.schema.items() if kind == pl.String]

    def one_by_one(name: str, places: Any) -> Workload:
        drawn = random.choice(places, size=min(_POOL, len(places)), replace=False)
        return Workload(name, [rows[int(i)] for i in drawn], 1, single)

    if texts:
        sizes = rows.select(pl.sum_horizontal(pl.col(texts).str.len_chars().fill_null(0)))
        order = np.argsort(sizes.to_series().to_numpy(), kind="stable")
        count = len(order)
        found = [
            one_by_one("short_b1", order[: (count + 1) // 2]),
            one_by_one("long_b1", order[-max(1, count // 10) :]),
        ]
    else:
        found = [one_by_one("b1", np.arange(rows.height))]
    if rows.height >= _BATCH:
        batches = [
            rows[np.sort(random.choice(rows.height, _BATCH, replace=False)).tolist()] for _ in range(8)
        ]
        found.append(Workload(f"batch{_BATCH}", batches, _BATCH, max(1, single // 10)))
    return found
