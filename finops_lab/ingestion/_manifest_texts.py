"""What vendors' manifests say: which files make up a delivery, and when it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from finops_lab.errors import InputError
from finops_lab.ingestion import _json
from finops_lab.ingestion._moments import microseconds

__all__ = ["Manifest", "parsed", "spelled"]

# Spelled as JSON spells keys: what a text that is no whole JSON is recognised by.
_MARKS = ('"reportKeys"', '"dataFiles"', '"runInfo"', '"blobName"')
# Folders of one billing period, as these vendors name them.
_PERIOD = re.compile(r"billing_period=.+|\d{8}-\d{8}", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HINT = "copy the manifest again, or remove it: the files are then taken by their folders alone"


@dataclass(frozen=True)
class Manifest:
    """One manifest: where it lies, and what it says.

    `listed` holds the files' keys in the vendor's store. `moment`, `run` and `start` (the first
    day covered) are Azure's: AWS writes the moment into folder names only.
    """

    name: str
    listed: tuple[str, ...]
    moment: str | None = None
    run: str | None = None
    start: str | None = None

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders above the manifest."""
        return PurePosixPath(self.name).parts[:-1]


def spelled(text: str) -> str | None:
    """Write a moment so that moments sort as text, in UTC; null when it is none.

    Examples
    --------
    >>> spelled("2024-01-20T17:05:26.4631234Z"), spelled("soon")
    ('2024-01-20T17:05:26.463123Z', None)
    """
    found = microseconds(text)
    if found is None:
        return None
    when = _EPOCH + timedelta(microseconds=found)
    return f"{when.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def parsed(name: str, text: str) -> Manifest | None:
    """Read a manifest of AWS Data Exports, of the legacy CUR or of an Azure export.

    Parameters
    ----------
    name : str
        Its path, named in errors.
    text : str
        Its content.

    Returns
    -------
    Manifest or None
        None when it is no manifest of these.

    Raises
    ------
    InputError
        When it is one of these and cannot be read.
    """
    try:
        said = _json.decode(text.removeprefix("\ufeff"))
    except ValueError as error:
        place = PurePosixPath(name).parts[:-1]
        if any(mark in text for mark in _MARKS) or any(_PERIOD.fullmatch(part) for part in place):
            raise InputError(f"the manifest cannot be read: {error}", file=name, hint=_HINT) from None
        return None
    if not isinstance(said, dict):
        return None
    if "reportKeys" in said:
        return Manifest(name, _keys(name, said, "reportKeys"))
    if "dataFiles" in said and {"executionId", "exportArn", "metadata", "columns"} & set(said):
        return Manifest(name, _keys(name, said, "dataFiles"))
    if "blobs" in said and {"runInfo", "exportConfig", "deliveryConfig"} & set(said):
        run = said.get("runInfo")
        run = run if isinstance(run, dict) else {}
        when = _text(run, "submittedTime")
        moment = None if when is None else spelled(when)
        if moment is None:
            raise InputError("runInfo.submittedTime is no date and time", file=name, hint=_HINT)
        start = _text(run, "startDate")
        return Manifest(
            name,
            _keys(name, said, "blobs"),
            moment,
            _text(run, "runId"),
            start and (spelled(start) or start)[:10],
        )
    return None


def _keys(name: str, said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    entries = said[key]
    if not isinstance(entries, list):
        raise InputError(f"{key} is no list of files", file=name, hint=_HINT)
    found = [
        next((entry[k] for k in ("blobName", "filePath") if k in entry), None)
        if isinstance(entry, dict)
        else entry
        for entry in entries
    ]
    named = tuple(file for file in found if isinstance(file, str) and file.strip("/"))
    if len(named) < len(found):
        raise InputError(f"an entry of {key} names no file", file=name, hint=_HINT)
    return named


def _text(said: Mapping[str, Any], key: str) -> str | None:
    value = said.get(key)
    return value if isinstance(value, str) and value else None
