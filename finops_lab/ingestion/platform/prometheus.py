"""Metrics as Prometheus answers queries for them: GPUs, serving engines, autoscalers.

Source: Prometheus' HTTP API (``query_range`` and ``query``, also what promtool prints of them);
vLLM 0.33 ``vllm/v1/metrics/loggers.py``, SGLang 0.5 ``metrics_collector.py``, TGI's and Triton's
metrics references, DCGM exporter's ``default-counters.csv``, kube-state-metrics' and Karpenter's
metrics references. Which metrics are read stands in ``_prom_metrics``; of all others a note tells
names and number of series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl

from finops_lab.ingestion import _json
from finops_lab.ingestion.platform import _prom_metrics, _prom_rows
from finops_lab.ingestion.platform._prom_capacity import capacity_rows, scale_rows
from finops_lab.ingestion.platform._prom_gpus import gpu_rows
from finops_lab.ingestion.platform._prom_histograms import histogram_rows
from finops_lab.ingestion.platform._prom_requests import request_rows
from finops_lab.ingestion.platform._prom_series import Decoded, decode, names_in
from finops_lab.ingestion.registry import ReadSettings, Sample

__all__ = ["READERS", "PrometheusReader"]

_Rows = Callable[[Decoded, ReadSettings], pl.DataFrame | None]
_ROWS: Mapping[str, _Rows] = MappingProxyType(
    {
        "gpu_samples": gpu_rows,
        "latency_histograms": histogram_rows,
        "inference_requests": request_rows,
        "capacity_series": capacity_rows,
        "scale_events": scale_rows,
    }
)
# Roles of metrics that a table has no figure of, and cannot do without.
_BESIDE = {"capacity_series": ("info",), "scale_events": ("info", "ready")}
# An answer with its envelope in any order of keys, its data alone, or the bare list of series.
_HEAD = re.compile(r'\s*\{[^\[]*"(?:resultType|result)"\s*:|\s*\[\s*\{\s*"metric"\s*:\s*\{')
_HOLDS = re.compile(r'"metric"\s*:\s*\{')


@dataclass(frozen=True)
class PrometheusReader:
    """Reads the metrics of one table out of answers of Prometheus' query API.

    Parameters
    ----------
    TABLE : str
        Name of the contract.

    Examples
    --------
    >>> PrometheusReader("gpu_samples").FORMAT
    'Prometheus query_range'
    """

    TABLE: str
    FORMAT: str = "Prometheus query_range"
    SOURCE: str = (
        "Prometheus' HTTP API, checked against a server; metrics of vLLM 0.33, SGLang 0.5, TGI, Triton,"
        " DCGM exporter, kube-state-metrics and Karpenter; from documentation"
    )

    def matches(self, sample: Sample) -> bool:
        """Tell whether a file holds answers of Prometheus with metrics of this table."""
        if sample.kind != "jsonl":
            return False
        head = _json.beginning(sample.path)
        if not _HEAD.match(head) or not _HOLDS.search(head):
            return False
        # A metric may come after any number of samples of others.
        known = (_prom_metrics.meaning(n, {"resource_type": "nodes"}) for n in names_in(sample.path))
        return any(self.TABLE in _prom_metrics.tables_of(found) for found in known if found)

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read one file as rows of the contract.

        Context columns and ``model`` are looked up in the labels that ``settings.attributes``
        names, then in labels of their own name (``model_name``, ``model``, ``model_id``).
        ``pool_id`` is the label ``pool_id``, ``pool``, ``deployment`` or ``statefulset``. A label
        ``exported_...`` comes before the one without, which is then the exporter's own. Metrics
        count all requests: ``settings.sample_rate`` is not applied.

        Counters become what was counted between two samples, from ``ts`` (``ts_start``) to the
        next; gauges stand from ``ts`` to the next sample, and for one step before a gap of more
        than 2.5 steps. Which rows each table gets is said by the functions of the ``_prom_``
        modules.

        Parameters
        ----------
        path : pathlib.Path
            One answer, or one per line, plain or gzip. Decoded when this is called.
        settings : ReadSettings
            Names of labels per context column.

        Returns
        -------
        polars.LazyFrame
            The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. ``source_row`` is
            the number of the (first) series that a row was made of, from 1.

        Raises
        ------
        InputError
            When the file cannot be read.
        """
        decoded = decode(path, self.TABLE, beside=_BESIDE.get(self.TABLE, ()))
        return _prom_rows.finished(self.TABLE, _ROWS[self.TABLE](decoded, settings), decoded)


READERS: tuple[PrometheusReader, ...] = tuple(PrometheusReader(table) for table in _prom_metrics.TABLES)
