"""Pages of a vendor's usage report: results in time buckets, as an admin API returns them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finops_lab.ingestion import _json, _rows

__all__ = ["rows"]

Result = Mapping[str, Any]
_MORE = "has_more: further pages of the report are not in this file"
_UNCOUNTED = "n_requests: the result counts tokens but no requests, taken as one"
_TOKENS = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")


def rows(
    path: Path, start: str, end: str, request: Callable[[Result, list[str], list[str]], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Read the results of all pages of a file as rows of the `inference_requests` contract.

    Parameters
    ----------
    path : pathlib.Path
        One page, an array of pages, or a page per line; plain or gzip.
    start, end : str
        The bucket's keys for its two ends.
    request : callable
        Turns a result into a row; appends to the lists of reasons and of notes it is given.

    Returns
    -------
    iterator of dict
        A result that counts neither requests nor anything else is left out. When the last page
        says that there are more, the last row carries a note.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    held: dict[str, Any] | None = None
    row, more, line = 0, False, ""
    for document in _json.documents(path):
        if document.fault is not None:
            row += 1
            if held is not None:
                yield held
            held = _rows.broken(row, document.text, document.fault)
            continue
        for page in document.value if isinstance(document.value, list) else [document.value]:
            line = document.text
            if isinstance(page, dict):
                more = page.get("has_more") is True
            for bucket, result in _json.results(page):
                row += 1
                found = _row(row, bucket, result, (start, end), request)
                if found is not None:
                    if held is not None:
                        yield held
                    held = found
    if more and held is None:
        held = _rows.broken(row + 1, line, _MORE)
    elif more and held is not None:
        held["notes"] = [*(held.get("notes") or ()), _MORE]
    if held is not None:
        yield held


def _row(
    row: int,
    bucket: Result,
    result: Any,
    ends: tuple[str, str],
    request: Callable[[Result, list[str], list[str]], dict[str, Any]],
) -> dict[str, Any] | None:
    if not isinstance(result, dict) or not bucket:
        return _rows.broken(row, _json.compact(result), "line: is not a page of buckets with results")
    faults: list[str] = []
    notes: list[str] = []
    found = request(result, faults, notes)
    if not found.get("n_requests") and not faults:
        counted = [found.get(name) for name in (*_TOKENS, "other_units")]
        if not any(counted):
            return None
        found["n_requests"] = 1
        notes.append(_UNCOUNTED)
    said = {key: bucket.get(key) for key in ends}
    return {
        **found,
        "ts_start": _json.moment(bucket.get(ends[0]), "ts_start", faults),
        "ts_end": _json.moment(bucket.get(ends[1]), "ts_end", faults),
        "source_row": row,
        "line": _json.compact({**said, **result}),
        "reasons": faults,
        "notes": notes,
    }
