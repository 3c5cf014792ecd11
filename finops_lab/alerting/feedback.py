"""What people said of alerts: `feedback.csv`, read and applied to events."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.alerting.schemas import FEEDBACK, VERDICTS
from finops_lab.errors import InputError

__all__ = ["anomaly_rows", "judged", "read_feedback"]

_DIMENSIONS = ("provider", "service", "team", "model", "feature")
# Words of M6, by ours.
_OF_M6 = {"false alarm": "false_positive"}


def read_feedback(path: str | Path) -> pl.DataFrame:
    """Read what people said of alerts.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV with the columns ``id`` (of an alert or an event) and ``verdict`` (confirmed, false alarm
        or expected; case and underscores do not matter), and if one likes ``by``, ``on`` (a day such as
        2026-10-05) and ``comment``. Where the file is not there, nobody has said anything.

    Returns
    -------
    polars.DataFrame
        `finops_lab.alerting.schemas.FEEDBACK` in the order of the file; all rows, later ones of an
        id too.

    Raises
    ------
    InputError
        A file that cannot be read, an unknown or missing column, a row with more fields than columns, or
        a value that is not allowed: with its row and column.

    Examples
    --------
    >>> read_feedback("no-such-feedback.csv").height
    0
    """
    file = Path(path)
    if not file.exists():
        return pl.DataFrame(schema=FEEDBACK)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", file=file) from None
    if not lines:
        return pl.DataFrame(schema=FEEDBACK)
    names = [name.strip().lower() for name in lines[0]]
    for name in names:
        if name not in FEEDBACK or names.count(name) > 1:
            hint = f"columns are {', '.join(FEEDBACK)}, each once"
            raise InputError("is no column of feedback", file=file, column=name, hint=hint)
    for name in ("id", "verdict"):
        if name not in names:
            raise InputError("the column is missing", file=file, column=name)
    rows = []
    for number, fields in enumerate(lines[1:], 1):
        if any(field.strip() for field in fields):
            rows.append(_row(dict(zip(names, fields, strict=False)), len(fields) - len(names), file, number))
    return pl.DataFrame(rows, schema=FEEDBACK)


def _row(said: Mapping[str, str], more: int, file: Path, number: int) -> dict[str, Any]:
    if more > 0:
        hint = "put a comment with commas in quotation marks"
        raise InputError(f"has {more} more fields than there are columns", file=file, row=number, hint=hint)
    row: dict[str, Any] = {name: said.get(name, "").strip() or None for name in FEEDBACK}
    if row["id"] is None:
        raise InputError("an id is missing", file=file, row=number, column="id")
    verdict = " ".join((row["verdict"] or "").replace("_", " ").split()).lower()
    if verdict not in VERDICTS:
        hint = f"write one of {', '.join(VERDICTS)}"
        raise InputError(
            f"{row['verdict'] or ''!r} is no verdict", file=file, row=number, column="verdict", hint=hint
        )
    row["verdict"] = verdict
    if row["on"] is not None:
        try:
            row["on"] = date.fromisoformat(row["on"])
        except ValueError:
            hint = "write it like 2026-10-05"
            raise InputError(
                f"{row['on']!r} is no day", file=file, row=number, column="on", hint=hint
            ) from None
    return row


def judged(
    events: pl.DataFrame, feedback: pl.DataFrame, *, alerts: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Set what people said as the status of events.

    Of several rows of an id the one of the latest day counts, and of those the last in the file; rows
    without a day are older than any with one. A verdict on an event is one on its parts
    (``cause_of``) too, and one on an alert is one on its events, where they have none of their own.

    Parameters
    ----------
    events : polars.DataFrame
        ``id``, ``cause_of`` and ``status`` (String), such as `finops_lab.anomalies.event.EVENTS`.
    feedback : polars.DataFrame
        From `read_feedback`. Ids of events that are not there pass by: they may be older.
    alerts : polars.DataFrame, optional
        ``id`` and ``events`` of `finops_lab.alerting.schemas.ALERTS`.

    Returns
    -------
    polars.DataFrame
        The events in their order, with ``status`` set.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> events = pl.DataFrame({"id": ["a", "b"], "cause_of": [None, "a"], "status": ["open", "open"]})
    >>> said = pl.DataFrame({"id": ["a"], "verdict": ["expected"], "on": [None]})
    >>> judged(events, said)["status"].to_list()
    ['expected', 'expected']
    """
    for frame, names in ((events, ("id", "cause_of", "status")), (feedback, ("id", "verdict", "on"))):
        for name in names:
            if name not in frame.columns:
                raise InputError("feedback is applied by it", column=name)
    latest = feedback.with_columns(pl.col("on").cast(pl.Date)).sort(
        "on", nulls_last=False, maintain_order=True
    )
    said: dict[str, str] = dict(latest.select("id", "verdict").rows())
    of_alert: dict[str, str] = {}
    if alerts is not None:
        for name, members in alerts.select("id", "events").rows():
            verdict = said.get(name)
            if verdict is not None:
                of_alert |= dict.fromkeys(members, verdict)
    causes: dict[str, str | None] = dict(events.select("id", "cause_of").rows())
    found = []
    for name, status in events.select("id", "status").rows():
        verdict, at, seen = said.get(name), causes.get(name), {name}
        while verdict is None and at is not None and at not in seen:
            seen.add(at)
            verdict, at = said.get(at), causes.get(at)
        found.append(verdict or of_alert.get(name) or status)
    return events.with_columns(pl.Series("status", found, pl.String))


def anomaly_rows(events: pl.DataFrame) -> pl.DataFrame:
    """Return the events as M6, the cost anomaly rate, counts them.

    Parameters
    ----------
    events : polars.DataFrame
        ``first``, ``status``, ``cause_of`` and, where they are there, ``x_team`` and the like.

    Returns
    -------
    polars.DataFrame
        ``ts`` (Datetime), ``status`` (String, a false alarm is ``false_positive``) and ``provider``,
        ``service``, ``team``, ``model``, ``feature`` (String); no event that is a part of another one here.

    Examples
    --------
    >>> from datetime import datetime
    >>> day = datetime(2026, 10, 5)
    >>> events = pl.DataFrame({"id": ["a", "b"], "first": [day, day], "cause_of": [None, "a"],
    ...     "status": ["false alarm", "open"], "x_team": ["search", None]})
    >>> anomaly_rows(events).select("status", "team").rows()
    [('false_positive', 'search')]
    """
    scopes = [
        (pl.col(f"x_{name}") if f"x_{name}" in events.columns else pl.lit(None, pl.String)).alias(name)
        for name in _DIMENSIONS
    ]
    part = pl.col("cause_of").is_in(events["id"].to_list()).fill_null(False)
    return events.filter(~part).select(
        pl.col("first").alias("ts"), pl.col("status").cast(pl.String).replace(_OF_M6), *scopes
    )
