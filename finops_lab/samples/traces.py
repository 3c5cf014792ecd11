"""What spans of the newest month tell beside the calls: sizes, times in the engine, calls that belong together.

No call is added to those that succeeded, and none is taken away: some sampled calls of one customer
become the steps of one trace or the retry of a call that failed, and begin earlier on their day for
it. Only the planted incident adds calls, all of them failed.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from finops_lab.samples.company import FEATURES, FIRST_DAY, SERVING_VARIANTS, TOKEN_SHAPES
from finops_lab.samples.demand import Demand, Route
from finops_lab.samples.plants import INCIDENT, Plants
from finops_lab.samples.seeds import index_of, stream
from finops_lab.samples.traffic import day_share, sampling_bits

__all__ = ["INCIDENT_NUMBERS", "traced"]

_SINCE = datetime(2026, 10, 1, tzinfo=UTC)
# Features that answer in steps, with the share of their calls that begins a trace of two or three.
_STEPS = {"chat-assistant": 0.05, "search-answers": 0.05, "code-helper": 0.04}
_RETRIED = 0.7
INCIDENT_NUMBERS = 900_000  # positions of the incident's calls in their month, far above all others
_ATTEMPTS = (0.45, 0.35, 0.20)  # share of chains with one, two, three failed attempts
_DAY_MS = 86_400_000
_TOLD: dict[str, type[pl.DataType]] = dict.fromkeys(
    (
        "request_bytes", "response_bytes", "queue_ms", "prefill_ms", "decode_ms", "bits", "resent",
        "trace_number", "trace_bits", "root", "root_start_ms", "root_end_ms", "retrieval_end_ms",
    ),
    pl.Int64,
)  # fmt: skip


def traced(seed: int, calls: pl.DataFrame, demand: Demand, plants: Plants) -> pl.DataFrame:
    """Return the sampled calls with what their spans tell of the newest month.

    Returns
    -------
    polars.DataFrame
        The calls and, all Int64 and null before that month: ``number`` (position in the month,
        never null), ``request_bytes, response_bytes, queue_ms, prefill_ms, decode_ms, resent``;
        ``bits`` (one call in ``2**bits`` is kept, where not as usual); ``trace_number`` and
        ``trace_bits`` (of the call whose trace id it shares), ``root`` (number of the call that
        names the span around the trace) and on that call ``root_start_ms, root_end_ms,
        retrieval_end_ms``.
    """
    month = pl.from_epoch("start_ms", time_unit="ms").dt.truncate("1mo")
    calls = calls.with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).over(month).alias("number"),
        *[pl.lit(None, dtype).alias(name) for name, dtype in _TOLD.items()],
    )
    since = int(_SINCE.timestamp() * 1000)
    old, new = calls.filter(pl.col("start_ms") < since), calls.filter(pl.col("start_ms") >= since)
    rows = _in_engine(stream(seed, "bodies"), new).to_dicts()
    _link(stream(seed, "traces"), rows)
    if plants.on:
        rows += _incident(stream(seed, "incident"), rows, demand)
    rows.sort(key=lambda row: (row["start_ms"], row["number"]))
    return pl.concat([old, pl.DataFrame(rows, schema=calls.schema)])


def _in_engine(rng: np.random.Generator, calls: pl.DataFrame) -> pl.DataFrame:
    """Split the time of each call and weigh its bodies: JSON in, a stream of chunks out."""
    n = calls.height
    failed = calls["error"].is_not_null().to_numpy()
    shapes = np.array([TOKEN_SHAPES[FEATURES[name].tokens] for name in calls["feature"]])
    scale = np.array([FEATURES[name].input_scale for name in calls["feature"]])
    # A call that failed was sent, too.
    sent = shapes[:, 0] * scale * np.exp(rng.normal(0, 1, n) * shapes[:, 1])
    sent = np.where(failed, sent, calls["input_tokens"].to_numpy())
    request = 700 + 4.2 * sent * np.exp(rng.normal(0, 0.06, n))
    response = 380 + 185 * calls["output_tokens"].to_numpy() * np.exp(rng.normal(0, 0.03, n))
    response = np.where(failed, rng.integers(150, 260, n), response)
    first = calls["ttft_ms"].to_numpy()
    queue = np.floor(first * rng.beta(1.2, 8, n)).astype(np.int64)
    ok = pl.col("error").is_null()
    return calls.with_columns(
        pl.Series("request_bytes", np.rint(request).astype(np.int64)),
        pl.Series("response_bytes", np.rint(response).astype(np.int64)),
        pl.Series("queue_ms", queue),
        pl.Series("prefill_ms", first - queue),
        (pl.col("latency_ms") - pl.col("ttft_ms")).alias("decode_ms"),
    ).with_columns(pl.when(ok).then(pl.col("queue_ms", "prefill_ms", "decode_ms")))


def _link(rng: np.random.Generator, rows: list[dict[str, Any]]) -> None:
    """Make traces of calls that one customer made through one feature on one day."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        groups[_sender(row)].append(at)
    draws = rng.random((3, len(rows)))
    taken: set[int] = set()
    for group in groups.values():
        for place, at in enumerate(group):
            row = rows[at]
            if at in taken or row["gateway"]:
                continue
            later = [n for n in group[place + 1 : place + 40] if n not in taken and not rows[n]["error"]]
            if row["error"]:
                same = [n for n in later if _served(rows[n]) == _served(row)]
                chosen = same[:1] if draws[0, at] < _RETRIED else []
            else:
                share = _STEPS.get(row["feature"], 0.0)
                chosen = later[: 1 + int(draws[1, at] < 0.3)] if draws[0, at] < share else []
            members = [at, *chosen]
            if chosen and _chain([rows[n] for n in members], draws[2, at]):
                taken.update(members)


def _sender(row: dict[str, Any]) -> tuple[Any, ...]:
    day = row["start_ms"] // _DAY_MS
    return day, row["feature"], row["customer"], row["gateway"], row["environment"], row["context"]


def _served(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["variant"]


def _chain(members: list[dict[str, Any]], draw: float) -> bool:
    """Let each call begin when the one before it has ended, all in one trace; tell whether the day has room."""
    begin = members[0]["start_ms"]
    wait = 15 + int(draw * 400)
    moments, end = [], begin
    for row in members:
        moments.append(end if row is members[0] else end + wait)
        end = moments[-1] + row["latency_ms"]
    lead = 0 if members[0]["error"] else 12 + int(draw * 130)
    if (begin - lead - 3) // _DAY_MS != moments[-1] // _DAY_MS:
        return False
    # The id passes the strictest sampling among its calls.
    keeper = max(members, key=lambda row: (_bits(row), -row["number"]))
    for row, moment in zip(members, moments, strict=True):
        row.update(start_ms=moment, trace_number=keeper["number"], trace_bits=_bits(keeper))
        row["root"] = members[0]["number"]
        row["resent"] = 1 if row is not members[0] and members[0]["error"] else None
    members[0].update(root_start_ms=begin - lead - 3, root_end_ms=end + 4)
    members[0]["retrieval_end_ms"] = begin - 1 if lead else None
    return True


def _bits(row: dict[str, Any]) -> int:
    return int(row["bits"] or sampling_bits(row["model"]))


def _incident(rng: np.random.Generator, rows: list[dict[str, Any]], demand: Demand) -> list[dict[str, Any]]:
    """Return the failed calls of the planted incident, and retry some that went well in its hours."""
    feature, day = FEATURES[INCIDENT.service], INCIDENT.deployed.date()
    share = day_share(INCIDENT.deployed.hour, INCIDENT.rolled_back.hour)
    usual = (
        sum(int(demand.calls[r][index_of(day, FIRST_DAY)]) for r in demand.of(feature=feature.name)) * share
    )
    failed = usual * INCIDENT.failed_share / (1 - INCIDENT.failed_share)
    kept = round(failed / 2**INCIDENT.bits)
    routes = [Route(feature.name, INCIDENT.model, variant) for variant in SERVING_VARIANTS]
    weights = np.array([float(demand.calls[route][index_of(day, FIRST_DAY)]) for route in routes])
    first, last = (int(moment.timestamp() * 1000) for moment in (INCIDENT.deployed, INCIDENT.rolled_back))
    made: list[dict[str, Any]] = []

    def attempt(route: Route, start: int, resent: int) -> dict[str, Any]:
        late = rng.random() < 0.08
        latency = 30_000 if late else int(rng.integers(45, 160))
        told = dict.fromkeys(_TOLD) | {
            "request_bytes": int(700 + 5000 * np.exp(rng.normal(0, 0.7))),
            "response_bytes": int(rng.integers(150, 260)),
            "bits": INCIDENT.bits,
            "resent": resent or None,
        }
        row = {
            "feature": feature.name, "model": route.model, "variant": route.variant, "gateway": False,
            "start_ms": start, "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0,
            "latency_ms": latency, "ttft_ms": latency, "error": "timeout" if late else INCIDENT.error,
            "cache_hit": False, "environment": "prod", "customer": feature.dedicated_to.get(route.model),
            "context": True, "number": INCIDENT_NUMBERS + len(made), **told,
        }  # fmt: skip
        made.append(row)
        return row

    for row in rows:
        own = row["feature"] == feature.name and row["model"] == INCIDENT.model and not row["gateway"]
        good = own and row["context"] and not row["error"] and row["root"] is None
        if good and first + 60_000 <= row["start_ms"] < last and rng.random() < 0.5:
            before = attempt(Route(feature.name, row["model"], row["variant"]), row["start_ms"], 0)
            before["start_ms"] -= before["latency_ms"] + int(rng.integers(200, 900))
            _together([before, row])
            row["resent"] = 1
    while len(made) < kept:
        route = routes[int(rng.choice(len(routes), p=weights / weights.sum()))]
        attempts = min(1 + int(rng.choice(len(_ATTEMPTS), p=_ATTEMPTS)), kept - len(made))
        start = int(rng.integers(first + 20_000, last - 120_000))
        chain = []
        for number in range(attempts):
            chain.append(attempt(route, start, number))
            start += chain[-1]["latency_ms"] + 500 * 2**number
        if attempts > 1:
            _together(chain)
    return made


def _together(chain: list[dict[str, Any]]) -> None:
    """Put calls whose moments stand already into one trace."""
    keeper = max(chain, key=lambda row: (_bits(row), -row["number"]))
    for row in chain:
        row.update(trace_number=keeper["number"], trace_bits=_bits(keeper), root=chain[0]["number"])
    end = chain[-1]["start_ms"] + chain[-1]["latency_ms"]
    chain[0].update(root_start_ms=chain[0]["start_ms"] - 3, root_end_ms=end + 4)
