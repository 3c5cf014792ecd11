"""OpenCost's allocations: what a Kubernetes cluster's workloads cost by a model, no invoice.

Source: OpenCost's Allocation API (``core/pkg/opencost/allocation.go``) and its CSV export
(``pkg/costmodel/csv_export.go``). Machines in these amounts stand on the cloud's bill as well: so
``BilledCost`` is 0, and the modelled total is ``EffectiveCost``. ``totalCost`` holds every part
already, shared and external costs too. The data names no currency; OpenCost's prices are in USD
unless it was set up otherwise.
"""

from __future__ import annotations

import decimal
import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion._scan import scan_table
from finops_lab.ingestion.bills import _bills
from finops_lab.ingestion.platform import _records
from finops_lab.ingestion.platform._records import inside
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, Sample, unreadable
from finops_lab.money import parse

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "OpenCost allocation"
SOURCE = "OpenCost's allocation.go and csv_export.go, and a synthetic answer of its API; from documentation"
TABLE = "costs"

_CURRENCY = "BillingCurrency: not in the export, USD assumed"
_DIFFERS = "EffectiveCost: the total is not the sum of the parts listed"
# Beyond this, a difference is no rounding of floats.
_TOLERANCE = Decimal("0.005")
_COLUMNS = frozenset({"Date", "Namespace", "CPUCost", "RAMCost", "TotalCost"})
_PARTS = ("cpuCost", "gpuCost", "ramCost", "pvCost", "networkCost", "loadBalancerCost")
_WHOLE_PARTS = ("sharedCost", "externalCost")
_ESTIMATE = "x_Estimate"
_KEPT = {
    **{name: f"x_{name[0].upper()}{name[1:]}" for name in (*_PARTS, *_WHOLE_PARTS)},
    "gpuHours": "x_GpuHours",
    "cpuCoreHours": "x_CpuCoreHours",
    "ramByteHours": "x_RamByteHours",
    "gpuRequestAverage": "x_GpuRequestAverage",
    "gpuUsageAverage": "x_GpuUsageAverage",
    "totalEfficiency": "x_TotalEfficiency",
}
_KEPT_CSV = {
    "CPUCost": "x_CpuCost",
    "GPUCost": "x_GpuCost",
    "RAMCost": "x_RamCost",
    "PVCost": "x_PvCost",
    "NetworkCost": "x_NetworkCost",
    "GPUs": "x_Gpus",
    "CPUCoreUsageAverage": "x_CpuCoreUsageAverage",
    "RAMBytesUsageAverage": "x_RamBytesUsageAverage",
}
_OWNERS = {
    "namespace": "Namespace",
    "controllerKind": "ControllerKind",
    "controller": "ControllerName",
    "pod": "Pod",
}


def matches(sample: Sample) -> bool:
    """Tell whether a file is an answer of the Allocation API, or the CSV export."""
    if sample.kind == "csv":
        return set(sample.columns) >= _COLUMNS
    return any(
        _is_allocation(found)
        for head in _records.heads(sample, "cpuCost", "ramCost")
        for found in ([head] if _is_allocation(head) else [a for a, _ in _allocations(head)])
    )


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read allocations as rows of the `costs` contract, one per workload and window (or day).

    ``BilledCost`` is 0 and ``EffectiveCost`` the modelled total. The billing account is the
    cluster, the sub-account the namespace; the billing period is the month in which the allocation
    starts. ``Tags`` are the labels (those of the namespace where a pod has none), and namespace,
    controller and pod where no label is called so. ``__idle__`` and ``__unmounted__`` are rows
    like others. ``x_Estimate`` says "OpenCost"; parts of the total, GPU-hours and efficiency are
    kept as texts.

    Parameters
    ----------
    path : pathlib.Path
        JSON or CSV, plain or gzip.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>`` columns.

    Returns
    -------
    polars.LazyFrame
        The contract without ``x_SourceFile``, kept columns, and `RAW`, `REASONS`, `NOTES`.

    Raises
    ------
    InputError
        When the file cannot be read, holds an error of the API, or lacks a needed column.
    """
    if _json.beginning(path).lstrip().startswith(("{", "[")):
        return _rows.frame(
            TABLE, lambda: _read(path), extra=(_ESTIMATE, *_KEPT.values()), tag_keys=settings.tag_keys
        )
    return _read_csv(path, settings)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    row = 0
    for document in _records.documents(path):
        if document.fault is not None:
            row += 1
            yield _rows.broken(row, document.text, document.fault)
            continue
        if isinstance(document.value, dict) and "code" in document.value and "data" not in document.value:
            said = _json.short(_json.text(document.value.get("message")) or document.value["code"])
            raise InputError(
                f"holds an error of OpenCost instead of costs: {said}", file=path, hint="ask again"
            )
        for allocation, name in _allocations(document.value):
            row += 1
            line = _json.compact(allocation)
            if not _is_allocation(allocation):
                yield _rows.broken(row, line, "line: is not an allocation of OpenCost")
            else:
                yield {**_charge(allocation, name), "source_row": row, "line": line}


def _allocations(value: Any) -> Iterator[tuple[Any, str | None]]:
    """Return the allocations of an answer: a list of sets (one per step), each by name."""
    if isinstance(value, dict) and "data" in value:
        value = value["data"]
    for named in value if isinstance(value, list) else [value]:
        if _is_allocation(named) or not isinstance(named, dict):
            if named is not None:  # a step without data
                yield named, None
            continue
        for name, allocation in named.items():
            yield allocation, name


def _is_allocation(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() >= {"cpuCost", "ramCost"}
        and bool(value.keys() & {"window", "start"})
    )


def _charge(allocation: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    faults: list[str] = []
    notes = [_CURRENCY]
    window, properties = inside(allocation, "window"), inside(allocation, "properties")
    start = _moment(allocation, window, "start", "ChargePeriodStart", faults)
    end = _moment(allocation, window, "end", "ChargePeriodEnd", faults)
    first, last = _month(start)
    name = _json.text(allocation.get("name")) or _json.text(key)
    parts = _parts(allocation)
    total = _json.text(allocation.get("totalCost"))
    if total is None and parts is not None:
        total = str(parts)
        notes.append("EffectiveCost: the sum of the parts, the answer has no total")
    elif parts is not None and (whole := _number(allocation.get("totalCost"))) is not None:
        with decimal.localcontext(prec=80):
            if abs(whole - parts) > _TOLERANCE:
                notes.append(_DIFFERS)
    owners = {k: said for k in (*_OWNERS, "cluster") if (said := _json.text(properties.get(k))) is not None}
    labels = {**inside(properties, "namespaceLabels"), **inside(properties, "labels")}
    return {
        "BilledCost": "0",
        "EffectiveCost": total,
        "BillingCurrency": "USD",
        "BillingAccountId": owners.get("cluster", "OpenCost"),
        "BillingAccountType": "Kubernetes cluster",
        "SubAccountId": owners.get("namespace"),
        "SubAccountName": owners.get("namespace"),
        "SubAccountType": "Kubernetes namespace" if "namespace" in owners else None,
        "BillingPeriodStart": first,
        "BillingPeriodEnd": last,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": name and f"Modelled cost of {name}",
        "ProviderName": "OpenCost",
        "ServiceCategory": "Compute",
        "ServiceName": "Kubernetes allocation",
        "ResourceId": name,
        "ResourceName": owners.get("pod") or owners.get("controller") or name,
        "ResourceType": owners.get("controllerKind"),
        "Tags": _tags(labels, owners),
        _ESTIMATE: "OpenCost",
        **{new: _json.text(allocation.get(old)) for old, new in _KEPT.items()},
        "reasons": faults,
        "notes": notes,
    }


def _moment(
    allocation: Mapping[str, Any], window: Mapping[str, Any], name: str, column: str, faults: list[str]
) -> int | None:
    own = _json.text(allocation.get(name))
    return _json.moment(allocation.get(name) if own else window.get(name), column, faults)


def _month(start: int | None) -> tuple[int | None, int | None]:
    """Return the first moments of a moment's month and of the next, in microseconds."""
    if start is None:
        return None, None
    day = datetime.fromtimestamp(start // 1_000_000, UTC).replace(day=1, hour=0, minute=0, second=0)
    first = int(day.timestamp()) * 1_000_000
    if (day.year, day.month) == (9999, 12):
        return first, None
    after = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    return first, int(after.timestamp()) * 1_000_000


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    found = Decimal(value)
    return found if found.is_finite() and abs(found.adjusted()) < 40 else None


def _parts(allocation: Mapping[str, Any]) -> Decimal | None:
    """Add up the parts of a total with their adjustments; None where one is no number."""
    names = [*_WHOLE_PARTS, *_PARTS, *(f"{part}Adjustment" for part in _PARTS)]
    given = [allocation[name] for name in names if allocation.get(name) is not None]
    found = [number for value in given if (number := _number(value)) is not None]
    with decimal.localcontext(prec=80):
        return sum(found, Decimal(0)) if len(found) == len(given) else None


def _tags(labels: Mapping[str, Any], owners: Mapping[str, Any]) -> str | None:
    tags = {**owners, **labels}
    return _json.compact(tags) if tags else None


def _read_csv(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    try:
        raw = scan_table(path)
        columns = raw.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None
    missing = sorted(_COLUMNS - set(columns))
    if missing:
        raise InputError(f"has no column {missing[0]}", file=path, column=missing[0], hint="export it again")

    def own(name: str) -> pl.Expr:
        return pl.col(name) if name in columns else pl.lit(None, dtype=pl.String)

    day = pl.col("Date")
    names = [own(name) for name in ("Namespace", "ControllerName", "Pod", "Container")]
    parts = [
        parse(pl.col(n)).fill_null(0)
        for n in ("CPUCost", "GPUCost", "RAMCost", "PVCost", "NetworkCost")
        if n in columns
    ]
    kept = {old: new for old, new in _KEPT_CSV.items() if old in columns}
    name = pl.concat_str(*names, separator="/", ignore_nulls=True)
    month = day.dt.truncate("1mo")
    frame = _bills.bill(
        raw,
        {
            "BilledCost": pl.lit("0"),
            "EffectiveCost": pl.col("TotalCost"),
            "BillingCurrency": pl.lit("USD"),
            "BillingAccountId": pl.lit("OpenCost"),
            "BillingAccountType": pl.lit("Kubernetes cluster"),
            "SubAccountId": own("Namespace"),
            "SubAccountName": own("Namespace"),
            "SubAccountType": pl.when(own("Namespace").is_not_null()).then(pl.lit("Kubernetes namespace")),
            "BillingPeriodStart": month,
            "BillingPeriodEnd": month.dt.offset_by("1mo"),
            "ChargePeriodStart": day,
            "ChargePeriodEnd": day.dt.offset_by("1d"),
            "ChargeCategory": pl.lit("Usage"),
            "ChargeFrequency": pl.lit("Usage-Based"),
            "ChargeDescription": pl.format("Modelled cost of {}", name),
            "ProviderName": pl.lit("OpenCost"),
            "ServiceCategory": pl.lit("Compute"),
            "ServiceName": pl.lit("Kubernetes allocation"),
            "ResourceId": name,
            "ResourceName": pl.coalesce(own("Pod"), own("ControllerName"), own("Namespace")),
            "ResourceType": own("ControllerKind"),
            "Tags": pl.struct(own(n).alias(n) for n in ("Labels", *_OWNERS.values())).map_batches(
                _csv_tags, return_dtype=pl.String, is_elementwise=True
            ),
        },
        amounts=["TotalCost"],
        times=["Date"],
        keep=kept,
        tag_keys=settings.tag_keys,
        notes=[
            (pl.col("x_SourceRow") > 0, pl.lit(_CURRENCY)),
            (
                (pl.col("TotalCost") - pl.sum_horizontal(parts)).abs() > _TOLERANCE,
                pl.lit(f"{_DIFFERS}: load balancers and shared costs have no column"),
            ),
        ],
    )
    order = [n for n in frame.collect_schema().names() if n not in (RAW, REASONS, NOTES)]
    return frame.with_columns(pl.lit("OpenCost").alias(_ESTIMATE)).select(
        *order, _ESTIMATE, RAW, REASONS, NOTES
    )


def _csv_tags(rows: pl.Series) -> pl.Series:
    texts: list[str | None] = []
    for row in rows.to_list():
        owners = {key: row[column] for key, column in _OWNERS.items() if row[column]}
        try:
            labels = json.loads(row["Labels"] or "{}")
        except (ValueError, RecursionError):
            labels = None
        # What is no JSON is left as it is, and told.
        texts.append(_tags(labels, owners) if isinstance(labels, dict) else row["Labels"])
    return pl.Series(rows.name, texts, dtype=pl.String)
