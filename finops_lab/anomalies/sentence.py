"""An explanation in a sentence that a person can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.anomalies.attribution import span_of
from finops_lab.anomalies.event import SCOPES
from finops_lab.calendar import month_name
from finops_lab.money import format_money
from finops_lab.wording import metric_words, plural

__all__ = [
    "amount_words",
    "bridge_words",
    "causes_words",
    "sentence",
    "slice_words",
    "span_words",
]

_NAMES = {"account": "sub-account", "allocation": "allocation method"}
_PREPOSITIONS = {"service": "in", "provider": "at", "region": "in", "account": "in sub-account"}
# Metrics that say in what they are counted.
_COUNTED = frozenset({"requests", "tokens", "gpu_hours", "training_gpu_hours"})
_NOBODY = "unallocated"
_SCOPE_ORDER = ("team", "feature", "model", "service", "provider")
_OWN_WORDS = frozenset({"team", "feature", "model"})
# Terms of a bridge that are one thing to a reader.
_GROUPS = {
    "requests": "volume",
    "days": "volume",
    "model_mix": "mix",
    "variant_mix": "mix",
    "commitments": "commitments",
    "tokens": "tokens per call",
    "cache": "cache-hit rate",
    "new": "new use",
    "vanished": "vanished use",
    "idle": "idle capacity",
    "not_measured": "use that is not measured",
}
_MOST, _LITTLE, _TOLD = 0.6, 0.2, 0.15
_TELLING = 0.5  # of the slice, that a candidate is of
_ALL = (0.995, 1.05)
_CANCELS = 5.0  # times the change, beyond which terms that cancel out tell nothing by themselves


def amount_words(amount: Decimal | float, currency: str | None, unit: str | None = None) -> str:
    """Write an amount: money without cents from 100 on, other figures to three digits and their unit.

    Examples
    --------
    >>> amount_words(Decimal("9470.4"), "USD"), amount_words(1234.5, None, "hours"), amount_words(0.062, None, "ratio")
    ('$9,470', '1,230 hours', '6.2 %')
    >>> amount_words(648_123_456, None)
    '648 million'
    """
    if currency:
        exact = amount if isinstance(amount, Decimal) else Decimal(repr(amount))
        return format_money(exact, currency, decimals=0 if abs(exact) >= 100 else 2)
    if unit == "ratio":
        return f"{float(f'{100 * float(amount):.3g}'):g} %"
    number = float(f"{float(amount):.3g}")
    sizes = ((1e9, " billion"), (1e6, " million"))
    size, name = next((one for one in sizes if abs(number) >= one[0]), (1.0, ""))
    number /= size
    told = (f"{number:,.0f}" if number == int(number) else f"{number:,g}") + name
    return f"{told} {unit}" if unit else told


def span_words(event: Mapping[str, Any]) -> str:
    """Write when an event was.

    Examples
    --------
    >>> span_words({"first": datetime(2026, 9, 19), "last": datetime(2026, 9, 23), "grain": "day"})
    'from 19 to 23 September 2026'
    >>> span_words({"first": datetime(2026, 10, 21, 9), "last": datetime(2026, 10, 21, 14), "grain": "hour"})
    'on 21 October 2026 from 09:00 to 15:00 UTC'
    """
    first, end = span_of(event)
    daily = (event.get("grain") or "day") == "day"
    last = end - timedelta(days=1) if daily else end
    if first.date() == last.date():
        day = f"on {_day(first)}"
        return day if daily else f"{day} from {first:%H:%M} to {last:%H:%M} UTC"
    if not daily:
        return f"from {_day(first)}, {first:%H:%M} to {_day(last)}, {last:%H:%M} UTC"
    if (first.year, first.month) == (last.year, last.month):
        return f"from {first.day} to {_day(last)}"
    return f"from {_day(first) if first.year != last.year else _day(first).rsplit(' ', 1)[0]} to {_day(last)}"


def _day(moment: datetime) -> str:
    return f"{moment.day} {month_name(moment.date())}"


def slice_words(conditions: Mapping[str, str | None]) -> str:
    """Write what a slice pins down.

    Examples
    --------
    >>> slice_words({"account": "growth-dev", "feature": None})
    'sub-account growth-dev, no feature'
    """
    told = [
        f"{_NAMES.get(name, name)} {value}" if value is not None else f"no {_NAMES.get(name, name)}"
        for name, value in conditions.items()
    ]
    return ", ".join(told)


def bridge_words(bridge: pl.DataFrame) -> str | None:
    """Write which terms of a bridge make up the change; None where no use is measured.

    Examples
    --------
    >>> bridge_words(pl.DataFrame({"term": ["volume", "price"], "share": [0.98, 0.02]}))
    'volume, not price'
    >>> bridge_words(pl.DataFrame({"term": ["requests", "price"], "share": [33.8, -32.8]}))
    'volume against price, which nearly cancel out'
    """
    shares: dict[str, float] = {}
    for term, share in bridge.select("term", "share").iter_rows():
        name = _GROUPS.get(term, term)
        shares[name] = shares.get(name, 0.0) + (share or 0.0)
    if shares.get("volume", 0.0) * shares.get("mix", 0.0) < 0:
        # Cheap units came or went: neither says much without the other.
        shares["volume and mix"] = shares.pop("volume") + shares.pop("mix")
    if set(shares) <= {_GROUPS["not_measured"]}:
        return None
    if max(abs(share) for share in shares.values()) > _CANCELS:
        with_it, against = ([name for name in sorted(shares) if way * shares[name] > 1] for way in (1, -1))
        if with_it and against:
            return f"{' and '.join(with_it)} against {' and '.join(against)}, which nearly cancel out"
    ranked = sorted(shares, key=lambda name: (-round(abs(shares[name]), 9), name))
    top = ranked[0]
    if shares[top] >= _MOST:
        others = [name for name in ranked[1:] if abs(shares[name]) >= _TOLD]
        if others:
            return f"{_percent(shares[top])} {top}, " + ", ".join(
                f"{_percent(shares[n])} {n}" for n in others
            )
        other = {"volume": "price", "volume and mix": "price", "price": "volume"}.get(top)
        return f"{top}, not {other}" if other and abs(shares.get(other, 0.0)) < _LITTLE else top
    return ", ".join(f"{_percent(shares[n])} {n}" for n in ranked if abs(shares[n]) >= _TOLD)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %".replace("-", "\N{MINUS SIGN}")


def causes_words(causes: pl.DataFrame, asked: Sequence[str], before: timedelta) -> str | None:
    """Write what an event coincides with; None where nobody looked.

    Examples
    --------
    >>> from finops_lab.anomalies.coincidences import CAUSES
    >>> causes_words(pl.DataFrame(schema=CAUSES), ["deploy", "price change"], timedelta(days=1))
    'no deploy or price change in the day before'
    """
    if not asked:
        return None
    told = causes.filter(pl.col("match") >= _TELLING)
    if told.is_empty():
        days = round(before / timedelta(days=1))
        when = "the day before" if days == 1 else f"the {days} days before"
        return f"no {' or '.join([*([', '.join(asked[:-1])] if asked[1:] else []), asked[-1]])} in {when}"
    one = told.row(0, named=True)
    hours = one["hours_before"]
    when = f", {plural(round(hours), 'hour')} before" if hours >= 1 else ""
    more = f" (and {told.height - 1} more)" if told.height > 1 else ""
    return f"coincides with {one['what']}{when}{more}"


def _scope_words(event: Mapping[str, Any]) -> str:
    pinned = {name: event[SCOPES[name]] for name in _SCOPE_ORDER if event.get(SCOPES[name])}
    dimension, value = str(event.get("dimension") or "total"), event.get("value")
    names = [] if dimension == "total" else dimension.split(" / ")
    values = [value] if len(names) == 1 else str(value).split(" / ")
    if len(names) == len(values):
        pinned |= {name: one for name, one in zip(names, values, strict=True) if one is not None}
    # A job is of a team and of a model; who reads of it looks for the job.
    beside = [name for name in pinned if name not in names] if names and names[0] not in SCOPES else []
    told = [
        f"without a {name}"
        if one == _NOBODY
        else f"{_PREPOSITIONS.get(name, 'of' if name in _OWN_WORDS else f'of {_NAMES.get(name, name)}')} {one}"
        for name, one in pinned.items()
        if not (name == "provider" and "service" in pinned) and name not in beside
    ]
    told += [f"({', '.join(f'{name} {pinned[name]}' for name in beside)})"] if beside else []
    return " " + " ".join(told) if told else ""


def sentence(
    event: Mapping[str, Any],
    *,
    actual: Decimal | float | None,
    expected: Decimal | float | None,
    currency: str | None,
    found: Sequence[Mapping[str, str | None]],
    held: Mapping[str, str | None],
    share: float | None,
    enough: bool,
    bridge: str | None,
    causes: str | None,
    similar: pl.DataFrame,
) -> str:
    r"""Put an explanation into a sentence.

    Parameters
    ----------
    event : mapping
        A row of the events frame.
    actual, expected : Decimal or float, optional
        Of the whole event, in `currency` or the event's unit.
    currency : str, optional
        ISO 4217 code; None where the metric is no money.
    found : sequence of mapping
        What the explaining slices pin down; an empty mapping says that all changed alike.
    held : mapping
        What the slice holds beside, such as its one resource.
    share : float, optional
        Of the change that the slices explain.
    enough : bool
        Whether that share explains the event.
    bridge, causes : str, optional
        Words of `bridge_words` and `causes_words`.
    similar : polars.DataFrame
        Of `finops_lab.anomalies.similar.similar_events`.

    Examples
    --------
    >>> from finops_lab.anomalies.similar import SIMILAR
    >>> event = {"metric": "EffectiveCost", "dimension": "team", "value": "growth", "grain": "day",
    ...     "first": datetime(2026, 9, 19), "last": datetime(2026, 9, 23)}
    >>> text = sentence(
    ...     event, actual=Decimal(11780), expected=Decimal(2310), currency="USD",
    ...     found=[{"account": "growth-dev"}], held={"resource": "dev-nodes"}, share=0.98, enough=True,
    ...     bridge="volume, not price", causes="no deploy in the day before", similar=pl.DataFrame(schema=SIMILAR))
    >>> print(text.replace(": ", ":\n").replace("; ", "\n"))
    Effective cost of growth was $9,470 above the $2,310 expected from 19 to 23 September 2026:
    98 % is sub-account growth-dev, resource dev-nodes
    volume, not price
    no deploy in the day before.
    """
    metric = str(event["metric"])
    many = metric in _COUNTED
    begin = f"{metric_words(metric)}{_scope_words(event)} {'were' if many else 'was'} "
    when = span_words(event)
    unit = None if currency or many else event.get("unit")
    if actual is None or expected is None:
        begin += f"out of the ordinary {when}"
    elif not expected:
        begin += (
            f"{amount_words(actual, currency, unit)} {when}, where none {'were' if many else 'was'} expected"
        )
    elif not actual:
        begin += f"nothing {when}, where {amount_words(expected, currency, unit)} {'were' if many else 'was'} expected"
    else:
        off = actual - expected  # type: ignore[operator]
        size, wanted = (amount_words(one, currency, unit) for one in (abs(off), expected))
        if unit == "ratio":
            size = size.replace(" %", " points")  # of a hundred: a tenth of 5 % is not what is meant
        begin += f"{size} {'above' if off >= 0 else 'below'} the {wanted} expected {when}"
    # What gave a job away says more than how far it is off by now.
    given_away = event.get("note") if event.get("kind") == "telemetry" else None
    parts = [given_away, _found_words(found, held, share, enough), bridge, causes, _similar_words(similar)]
    told = [part for part in parts if part]
    return (f"{begin}: {'; '.join(told)}" if told else begin) + "."


def _found_words(
    found: Sequence[Mapping[str, str | None]],
    held: Mapping[str, str | None],
    share: float | None,
    enough: bool,
) -> str | None:
    if share is None:
        return None
    if not found:
        return "no slice explains it"
    if not found[0]:
        return "all of it changed alike, no slice stands out"
    what = " and ".join(slice_words(one) for one in found)
    what += f", {slice_words(held)}" if held else ""
    if not enough:
        return f"no slice explains it, the largest part ({_percent(share)}) is {what}"
    if share > _ALL[1]:
        return f"more than all of it ({_percent(share)}) is {what}"
    return f"{'all of it' if share >= _ALL[0] else _percent(share)} is {what}"


def _similar_words(similar: pl.DataFrame) -> str | None:
    if similar.is_empty():
        return None
    status = pl.col("status").replace("open", "not judged yet")
    counts = similar.group_by(status).len().sort("len", "status", descending=[True, False])
    told = ", ".join(f"{number} {status}" for status, number in counts.iter_rows())
    told = counts["status"][0] if counts.height == 1 else told
    return f"like {plural(similar.height, 'earlier event')} ({told})"
