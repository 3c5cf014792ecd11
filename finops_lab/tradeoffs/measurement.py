"""A measurement: variants timed and evaluated side by side, kept in one file with how it was made.

The file is JSON, so that anybody can read it. Columns of one variant stand together; a column of one
value is that value, whole numbers in a row are ``{"from": first}``, right and wrong answers a text of 1 and 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from finops_lab.errors import InputError

__all__ = [
    "CLOCKS",
    "OUTCOMES",
    "SUFFIX",
    "SWEEPS",
    "TIMINGS",
    "VARIANTS",
    "Clock",
    "Measurement",
    "clock_of",
    "read_measurement",
    "write_measurement",
]

SUFFIX = ".measurement.json"
_AGAIN = "write it again with `finops-lab profile`"
_FORMAT = "finops_lab measurement 1"
_Schema = dict[str, pl.DataType | type[pl.DataType]]
VARIANTS: _Schema = {
    "model": pl.String,
    "variant": pl.String,
    "precision": pl.String,
    "hardware": pl.String,
    "serving": pl.String,
    "size_mib": pl.Float64,
    "memory_mib": pl.Float64,
}
TIMINGS: _Schema = {
    "model": pl.String,
    "variant": pl.String,
    "workload": pl.String,
    "round": pl.Int64,
    "items": pl.Int64,
    "tokens": pl.Int64,
    "wall_ms": pl.Float64,
    "cpu_ms": pl.Float64,
    "gpu_ms": pl.Float64,
    "energy_j": pl.Float64,
}
# What of a round may cost money, the dearest first.
Clock = Literal["cpu_ms", "gpu_ms", "wall_ms"]
CLOCKS: tuple[Clock, ...] = ("gpu_ms", "cpu_ms", "wall_ms")
OUTCOMES: _Schema = {
    "model": pl.String,
    "variant": pl.String,
    "dataset": pl.String,
    "metric": pl.String,
    "item": pl.Int64,
    "value": pl.Float64,
    "higher_is_better": pl.Boolean,
}
SWEEPS: _Schema = {
    "model": pl.String,
    "variant": pl.String,
    "workload": pl.String,
    "offered_per_s": pl.Float64,
    "served_per_s": pl.Float64,
    "requests": pl.Int64,
    "p50_ms": pl.Float64,
    "p95_ms": pl.Float64,
    "p99_ms": pl.Float64,
}
# Each frame's schema, what tells its rows apart, and what its file groups them by.
_PARTS: dict[str, tuple[_Schema, list[str], list[str]]] = {
    "variants": (VARIANTS, ["model", "variant"], ["model", "variant"]),
    "timings": (TIMINGS, ["model", "variant", "workload", "round"], ["model", "variant", "workload"]),
    "outcomes": (
        OUTCOMES,
        ["model", "variant", "dataset", "metric", "item"],
        ["model", "variant", "dataset", "metric"],
    ),
    "sweeps": (SWEEPS, ["model", "variant", "workload", "offered_per_s"], ["model", "variant", "workload"]),
}


@dataclass(frozen=True)
class Measurement:
    """What was measured of some variants.

    Parameters
    ----------
    variants : polars.DataFrame
        `VARIANTS`: what each is and how much room it takes.
    timings : polars.DataFrame
        `TIMINGS`: each round ran every variant on the same input, so rounds are pairs. Times are of
        the whole round, which made ``items`` inferences over ``tokens`` tokens.
    outcomes : polars.DataFrame
        `OUTCOMES`: the score of each item of a labelled data set, 0 or 1 for accuracy.
    sweeps : polars.DataFrame
        `SWEEPS`: latency under an offered load.
    provenance : dict
        Machine, packages, model, seed, protocol: whatever is needed to measure again, as JSON can say it.

    Raises
    ------
    InputError
        A column is missing or of another kind, or rows are told twice.
    """

    variants: pl.DataFrame
    timings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TIMINGS))
    outcomes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=OUTCOMES))
    sweeps: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SWEEPS))
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, (schema, keys, _) in _PARTS.items():
            object.__setattr__(self, part, _checked(getattr(self, part), part, schema, keys))
        names = self.variants.select("model", "variant")
        for part in ("timings", "outcomes", "sweeps"):
            strange = getattr(self, part).join(names, on=["model", "variant"], how="anti", nulls_equal=True)
            if strange.height:
                model, variant = strange.select("model", "variant").row(0)
                raise InputError(f"{part} tell of {model} {variant}, which is none of the variants")


def clock_of(timings: pl.DataFrame) -> Clock:
    """Return the time that costs money: the first of GPU, CPU and wall time that all rounds have.

    Parameters
    ----------
    timings : polars.DataFrame
        `TIMINGS`.

    Examples
    --------
    >>> clock_of(pl.DataFrame({"gpu_ms": [None], "cpu_ms": [2.0], "wall_ms": [3.0]}))
    'cpu_ms'
    """
    whole = [name for name in CLOCKS if not timings[name].has_nulls()]
    return whole[0] if whole else "wall_ms"


def write_measurement(measurement: Measurement, path: str | Path) -> Path:
    """Write a measurement to one file, all of it or nothing.

    Parameters
    ----------
    measurement : Measurement
        What to write.
    path : str or pathlib.Path
        The file; names end with `SUFFIX` by custom. The same measurement gives the same bytes.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        A provenance that JSON cannot say, such as one with a NaN or a date.

    Examples
    --------
    >>> import tempfile
    >>> variants = pl.DataFrame({"model": ["m"], "variant": ["int8"], "size_mib": [22.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_measurement(Measurement(variants), f"{folder}/m.measurement.json")
    ...     read_measurement(file).variants.item(0, "size_mib")
    22.0
    """
    target = Path(path)
    kept: dict[str, Any] = {"format": _FORMAT, "provenance": dict(measurement.provenance)}
    for part, (_, _, groups) in _PARTS.items():
        frame: pl.DataFrame = getattr(measurement, part)
        kept[part] = [
            {
                **dict(zip(groups, key, strict=True)),
                "rows": rows.height,
                **{column.name: _packed(column) for column in rows.drop(groups)},
            }
            for key, rows in frame.group_by(groups, maintain_order=True)
        ]
    try:
        lines = [f'"{name}": {_lines(value)}' for name, value in kept.items()]
    except (TypeError, ValueError) as error:
        raise InputError(f"the provenance cannot be written: {error}", file=target) from error
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def read_measurement(path: str | Path) -> Measurement:
    """Read a measurement that `write_measurement` wrote.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    Measurement
        As it was written; rows of one variant, and of one workload or data set of it, stand together.

    Raises
    ------
    InputError
        No such file, no measurement, or one that is spoiled.
    """
    file = Path(path)
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            "no such file", file=file, hint="`finops-lab profile` makes measurement files"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as JSON: {error}", file=file) from error
    if not isinstance(kept, dict) or kept.get("format") != _FORMAT:
        raise InputError(f"is no measurement: it should say {_FORMAT!r} under 'format'", file=file)
    try:
        frames = {part: _unpacked(kept[part], rules[0]) for part, rules in _PARTS.items()}
        return Measurement(**frames, provenance=kept["provenance"])
    except InputError as error:
        raise InputError(error.message, file=file, column=error.column, hint=error.hint) from error
    except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"is spoiled: {said}", file=file, hint=_AGAIN) from error


def _checked(frame: pl.DataFrame, part: str, schema: _Schema, keys: list[str]) -> pl.DataFrame:
    unknown = [name for name in frame.columns if name not in schema]
    if unknown:
        raise InputError(f"{part} have no such column", column=unknown[0], hint=f"known: {', '.join(schema)}")
    for name in keys:
        if name not in frame.columns:
            raise InputError(f"{part} lack this column", column=name)
    try:
        whole = frame.select(
            (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in schema.items()
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{part} hold a value of another kind: {error}") from error
    twice = whole.filter(pl.struct(keys).is_duplicated())
    if twice.height:
        raise InputError(f"{part} tell twice of {', '.join(f'{k} {twice.item(0, k)}' for k in keys)}")
    for name, kind in schema.items():
        if kind == pl.Float64 and not whole[name].drop_nulls().is_finite().all():
            raise InputError(f"{part} hold a value that is not finite", column=name)
    return whole


def _packed(column: pl.Series) -> Any:
    values = column.to_list()
    if column.n_unique() == 1:
        return values[0]
    if column.dtype == pl.Int64 and values == list(range(values[0] or 0, (values[0] or 0) + len(values))):
        return {"from": values[0]}
    if column.dtype == pl.Float64 and set(values) == {0.0, 1.0}:
        return "".join("1" if value else "0" for value in values)
    return values


def _unpacked(groups: list[dict[str, Any]], schema: _Schema) -> pl.DataFrame:
    frames = []
    for group in groups:
        strange = set(group) - set(schema) - {"rows"}
        if strange:
            raise InputError("no such column", column=min(strange))
        columns = {name: _values(name, group.get(name), group["rows"], kind) for name, kind in schema.items()}
        if short := [name for name, values in columns.items() if len(values) != group["rows"]]:
            named = f"{len(columns[short[0]])} values for {group['rows']} rows"
            raise InputError(f"is spoiled: it has {named}", column=short[0], hint=_AGAIN)
        frames.append(pl.DataFrame(columns, schema=schema, strict=True))
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _values(name: str, kept: Any, rows: int, kind: pl.DataType | type[pl.DataType]) -> list[Any]:
    if isinstance(kept, Mapping):
        return list(range(kept["from"], kept["from"] + rows))
    if isinstance(kept, str) and kind == pl.Float64:
        if strange := set(kept) - {"0", "1"}:
            said = f"is spoiled: {min(strange)!r} stands among right answers (1) and wrong ones (0)"
            raise InputError(said, column=name, hint=_AGAIN)
        values: list[Any] = [int(mark) for mark in kept]
    else:
        values = kept if isinstance(kept, list) else [kept] * rows
    # JSON of other hands may say 1 for 1.0.
    return [None if v is None else float(v) for v in values] if kind == pl.Float64 else values


def _lines(value: Any) -> str:
    """Put each row of a list on a line of its own, so that versions can be compared."""
    if isinstance(value, list):
        rows = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in value)
        return "[\n" + ",\n".join(rows) + "\n]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)
