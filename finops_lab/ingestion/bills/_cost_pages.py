"""Pages of a vendor's cost report: results in time buckets, as an admin API returns them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from finops_lab.errors import InputError
from finops_lab.ingestion import _json, _rows

__all__ = ["UNKNOWN", "month_of", "rows"]

Record = Mapping[str, Any]

UNKNOWN = "unknown organization"
_MORE = "has_more: the report is cut, more pages exist than this file holds"
_NO_ACCOUNT = "BillingAccountId: the report names no organization"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def rows(
    path: Path, start: str, end: str, charge: Callable[[Record, list[str], list[str]], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Read the results of all pages of a file as rows of the `costs` contract.

    The charge period is the bucket, the billing period its calendar month in UTC. BillingAccountId is
    ``organization_id`` of the result or the page, which APIs do not always tell; without one it is
    `UNKNOWN`, with a note.

    Parameters
    ----------
    path : pathlib.Path
        One page, an array of pages, a page per line, or pages one behind the other; plain or gzip.
    start, end : str
        The bucket's keys for its two ends.
    charge : callable
        Turns a result into columns of a bill; appends to the lists of reasons and of notes it is given.

    Returns
    -------
    iterator of dict
        When the last page says that there are more, the last row carries a note; where there is no row
        to carry it, a row with a reason does.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    held: dict[str, Any] | None = None
    number, more, line = 0, False, ""
    for document in _documents(path):
        if document.fault is not None:
            number += 1
            if held is not None:
                yield held
            held = _rows.broken(number, document.text, document.fault)
            continue
        line = document.text
        for page in document.value if isinstance(document.value, list) else [document.value]:
            if isinstance(page, dict):
                more = page.get("has_more") is True
            for bucket, result in _json.results(page):
                number += 1
                if held is not None:
                    yield held
                held = _row(number, page, bucket, result, (start, end), charge)
    if more and held is None:
        held = _rows.broken(number + 1, line, _MORE)
    elif more and held is not None:
        held["notes"] = [*(held.get("notes") or ()), _MORE]
    if held is not None:
        yield held


def month_of(moment: int | None) -> tuple[int | None, int | None]:
    """Return the two ends of the calendar month in UTC that a moment lies in, in microseconds.

    Examples
    --------
    >>> [end // 86_400_000_000 for end in month_of(0)]
    [0, 31]
    """
    if moment is None:
        return None, None
    first = (_EPOCH + moment * _MICROSECOND).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if (first.year, first.month) == (9999, 12):
        return None, None
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return (first - _EPOCH) // _MICROSECOND, (following - _EPOCH) // _MICROSECOND


def _documents(path: Path) -> Iterator[_json.Document]:
    """Read the JSON texts of a file; pages that were appended to one another are told apart."""
    documents = _json.documents(path)
    refused: InputError | None = None
    first: _json.Document | None = None
    try:
        first = next(documents, None)
    except InputError as error:
        refused = error
    if refused is not None or (first is not None and first.fault is not None):
        appended = _appended(path)
        if appended is not None:
            yield from appended
            return
        if first is not None and first.text.endswith(("{", "[", ",")):
            # A page over many lines: reading on line by line would make each of them a fault.
            refused = InputError("ends within a page", file=path, hint="deliver the file again")
    if refused is not None:
        raise refused
    if first is not None:
        yield first
    yield from documents


def _appended(path: Path) -> list[_json.Document] | None:
    """Read a file of JSON texts without line breaks of their own; None where it is none."""
    try:
        text = b"".join(_json._lines(path)).decode("utf-8-sig")
    except (InputError, UnicodeDecodeError):
        return None
    decoder = json.JSONDecoder(parse_float=Decimal)
    found: list[_json.Document] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        try:
            _, stop = decoder.raw_decode(text, place)
            found.append(_json.Document(text[place:stop], _json.decode(text[place:stop])))
        except (ValueError, ArithmeticError, RecursionError):
            return None
        place = stop
    return found


def _row(
    number: int,
    page: Any,
    bucket: Record,
    result: Any,
    ends: tuple[str, str],
    charge: Callable[[Record, list[str], list[str]], dict[str, Any]],
) -> dict[str, Any]:
    if not isinstance(result, dict) or not bucket:
        return _rows.broken(number, _json.compact(result), "line: is not a page of buckets with results")
    faults: list[str] = []
    notes: list[str] = []
    since, until = (_json.moment(bucket.get(key), key, faults) for key in ends)
    first, following = month_of(since)
    account = next(
        (text for held in (result, bucket, page) if (text := _json.text(held.get("organization_id")))), None
    )
    if account is None:
        notes.append(_NO_ACCOUNT)
    return {
        "BillingAccountId": account or UNKNOWN,
        "BillingAccountName": _json.text(result.get("organization_name")),
        "BillingPeriodStart": first,
        "BillingPeriodEnd": following,
        "ChargePeriodStart": since,
        "ChargePeriodEnd": until,
        "ChargeCategory": "Usage",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        **charge(result, faults, notes),
        "source_row": number,
        "line": _json.compact({**{key: bucket.get(key) for key in ends}, **result}),
        "reasons": faults,
        "notes": notes,
    }
