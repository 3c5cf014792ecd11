"""Until when tickets wait."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from finops_lab.config import Quiet
from finops_lab.errors import InputError

__all__ = ["quiet_until"]


def quiet_until(now: datetime, windows: Iterable[Quiet]) -> tuple[datetime, str] | None:
    """Return until when tickets wait, and by which window; None where they need not.

    Windows that follow each other without a gap are one wait.

    Raises
    ------
    InputError
        The windows leave no moment within a year.

    Examples
    --------
    >>> from datetime import UTC
    >>> night = Quiet(name="night", hours="22:00-07:00")
    >>> until, name = quiet_until(datetime(2026, 10, 5, 23, tzinfo=UTC), [night])
    >>> str(until), name
    ('2026-10-06 07:00:00+00:00', 'night')
    """
    windows = list(windows)
    until, names = now, list[str]()
    while until - now < timedelta(days=366):
        ends = {window.name: end for window in windows if (end := window.until(until)) is not None}
        if not ends:
            return (until, ", ".join(names)) if names else None
        name = max(ends, key=lambda name: ends[name])
        until = ends[name]
        names += [name] if name not in names else []
    raise InputError(
        f"tickets would wait for a year and more ({', '.join(names)})",
        hint="leave hours in which they are told",
    )
