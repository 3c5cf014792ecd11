"""One alert for one cause: events of the same cause, model, cluster or slice at the same time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

__all__ = ["LENGTHS", "end_of", "groups_of"]

LENGTHS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "5m": timedelta(minutes=5)}
_A_DAY = timedelta(days=1)


def end_of(event: Mapping[str, Any]) -> datetime:
    """Return when an event ended: its last moment is the begin of a day, an hour or five minutes.

    Examples
    --------
    >>> str(end_of({"last": datetime(2026, 10, 5), "grain": "day"}))
    '2026-10-06 00:00:00'
    """
    end: datetime = event["last"] + LENGTHS.get(event["grain"] or "day", _A_DAY)
    return end


def groups_of(events: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Put events together that people would look into as one.

    Together are an event and those that ``cause_of`` calls parts of it; and events of the same
    model, or of the same value of a dimension such as a cluster or pool, that overlap and either began
    within a day of each other or share at least half of the longer one. So a spike does not hide in
    a drift of weeks that it happens to fall into.

    Parameters
    ----------
    events : sequence of mappings
        Rows of events.

    Returns
    -------
    list of list of int
        Places of the events of each group, in order.

    Examples
    --------
    >>> day = datetime(2026, 10, 5)
    >>> one = {"id": "a", "cause_of": None, "dimension": "model", "value": "m", "x_model": "m",
    ...     "first": day, "last": day, "grain": "day"}
    >>> groups_of([one, one | {"id": "b", "dimension": "feature", "value": "f"}, one | {"id": "c",
    ...     "x_model": None, "value": "n"}])
    [[0, 1], [2]]
    """
    leads = list(range(len(events)))

    def lead(n: int) -> int:
        while leads[n] != n:
            leads[n] = leads[leads[n]]
            n = leads[n]
        return n

    def join(one: int, other: int) -> None:
        low, high = sorted((lead(one), lead(other)))
        leads[high] = low

    places = {event["id"]: n for n, event in enumerate(events)}
    shared: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for n, event in enumerate(events):
        if event["cause_of"] in places:
            join(n, places[event["cause_of"]])
        for key in _keys(event):
            shared[key].append(n)
    for found in shared.values():
        found.sort(key=lambda n: (events[n]["first"], n))
        for place, one in enumerate(found):
            for other in found[place + 1 :]:
                if events[other]["first"] >= end_of(events[one]):
                    break
                if lead(one) != lead(other) and _together(events[one], events[other]):
                    join(one, other)
    groups: dict[int, list[int]] = defaultdict(list)
    for n in range(len(events)):
        groups[lead(n)].append(n)
    return list(groups.values())


def _keys(event: Mapping[str, Any]) -> set[tuple[str, ...]]:
    keys: set[tuple[str, ...]] = {(event["dimension"], event["value"] or "")}
    if event["x_model"] is not None:
        keys.add(("model", event["x_model"]))
    return keys


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two events that overlap, the first of which began first, are of one time."""
    if other["first"] - one["first"] < _A_DAY:
        return True
    shared = min(end_of(one), end_of(other)) - other["first"]
    longest: timedelta = max(end_of(event) - event["first"] for event in (one, other))
    return bool(2 * shared >= longest)
