"""Sampled calls of three months: when, by whom, how long, how many tokens."""

from __future__ import annotations

import numpy as np
import polars as pl

from finops_lab.samples.company import (
    API_LATENCY,
    BURSTINESS,
    CUSTOMERS,
    FEATURES,
    FIRST_DAY,
    SERVING,
    SERVING_VARIANTS,
    TELEMETRY_FIRST_DAY,
    TOKEN_SHAPES,
)
from finops_lab.samples.demand import CACHE_HITS, ERROR_RATE, Demand, Route
from finops_lab.samples.seeds import Floats, Ints, index_of, stream

__all__ = ["API_SAMPLING", "day_share", "durations", "sample", "sampling_bits"]

# One call in 5,000 to the model vendor is logged; self-hosted calls are sampled per model.
API_SAMPLING = 5000
_BINS = 144  # of ten minutes
_ENVIRONMENTS = (("prod", 0.70), ("staging", 0.85), ("dev", 0.95), ("research", 1.0))
_ERRORS = ("timeout", "rate_limited", "overloaded", "invalid_request")


def sampling_bits(model: str) -> int:
    """Return k where one call in 2^k to a self-hosted model is kept.

    Examples
    --------
    >>> sampling_bits("larch-70b")
    12
    """
    return SERVING[model].sampling_bits


def day_share(first_hour: float, last_hour: float) -> float:
    """Return the share of a day's calls between two hours, as they usually are.

    Examples
    --------
    >>> day_share(0, 24)
    1.0
    >>> round(day_share(9, 15), 2)
    0.36
    """
    hours = (np.arange(_BINS) + 0.5) / 6
    usual = _usual(hours)
    return float(usual[(hours > first_hour) & (hours < last_hour)].sum() / usual.sum())


def _usual(hours: Floats) -> Floats:
    return np.asarray(1 + 0.55 * np.cos(2 * np.pi * (hours - 14) / 24), dtype=np.float64)


def durations(rng: np.random.Generator, route: Route, hour: Ints) -> tuple[Floats, Floats]:
    """Draw time to the first token and latency, in ms, of a route's calls at some hours of the day."""
    which = np.zeros(len(hour), dtype=np.int64)
    return _latency(rng, [route], which, _tokens(rng, [route], which), hour)


def sample(seed: int, demand: Demand, *, api: bool) -> pl.DataFrame:
    """Draw the calls that were exported, in order of time.

    Returns
    -------
    polars.DataFrame
        ``feature, model, variant, gateway, start_ms`` (since 1970, UTC), ``input_tokens``
        (cached included), ``cached_tokens, output_tokens, latency_ms, ttft_ms, error`` (null when
        fine), ``cache_hit, environment, customer, context`` (false: team, feature and customer
        are missing).
    """
    first = index_of(TELEMETRY_FIRST_DAY, FIRST_DAY)
    rng = stream(seed, f"requests/{'api' if api else 'self-hosted'}")
    routes = [r for r in demand.calls if (r.model not in SERVING) == api]
    at_day, at_route = [], []
    for number, route in enumerate(routes):
        rate = 1 / API_SAMPLING if api else 2.0 ** -sampling_bits(route.model)
        counts = rng.binomial(demand.calls[route][first:], rate)
        at_day.append(np.repeat(np.arange(first, len(demand.days)), counts))
        at_route.append(np.full(int(counts.sum()), number))
    day, which = np.concatenate(at_day), np.concatenate(at_route)
    n = len(day)
    start = _times(rng, demand, day)
    tokens = _tokens(rng, routes, which)
    hour = (start // 3_600_000) % 24
    ttft, latency = _latency(rng, routes, which, tokens, hour)
    draws = rng.random((5, n))
    failed = draws[0] < ERROR_RATE
    kind = np.where(failed, rng.integers(0, len(_ERRORS), n), -1)
    # A timeout takes its thirty seconds; other failures come fast.
    latency = np.where(kind == 0, 30_000.0, np.where(failed, 40 + 100 * draws[1], latency))
    hit = api & ~failed & (draws[2] < CACHE_HITS)
    latency = np.where(hit, 8 + 20 * draws[1], latency)
    gateway = np.array([r.gateway for r in routes])[which]
    missing = draws[3] < np.where(gateway, 0.18, 0.05)
    return pl.DataFrame(
        {
            "feature": np.array([r.feature for r in routes])[which],
            "model": np.array([r.model for r in routes])[which],
            "variant": np.array([r.variant for r in routes])[which],
            "gateway": gateway,
            "start_ms": start,
            "input_tokens": np.where(failed, 0, tokens[0]),
            "cached_tokens": np.where(failed, 0, tokens[1]),
            "output_tokens": np.where(failed, 0, tokens[2]),
            "latency_ms": np.rint(latency).astype(np.int64),
            "ttft_ms": np.rint(np.minimum(np.where(hit, latency, ttft), latency)).astype(np.int64),
            "error": pl.Series([None if k < 0 else _ERRORS[k] for k in kind.tolist()], dtype=pl.String),
            "cache_hit": hit,
            "environment": _environment(draws[4], gateway),
            "customer": _customers(rng, routes, which, gateway),
            "context": ~missing,
        }
    ).sort("start_ms", "feature", "model", "variant", maintain_order=True)


def _times(rng: np.random.Generator, demand: Demand, day: Ints) -> Ints:
    hours = (np.arange(_BINS) + 0.5) / 6
    usual = _usual(hours)
    inside = np.empty(len(day), dtype=np.int64)
    for number in np.unique(day):
        bursts = rng.gamma(1 / BURSTINESS**2, BURSTINESS**2, _BINS)
        weights = np.cumsum(usual * bursts)
        on = np.flatnonzero(day == number)
        found = np.searchsorted(weights / weights[-1], rng.random(len(on)))
        inside[on] = np.minimum(found, _BINS - 1) * 600_000 + rng.integers(0, 600_000, len(on))
    midnight = demand.days.astype("datetime64[ms]").astype(np.int64)[day]
    return np.asarray(midnight + inside, dtype=np.int64)


def _tokens(rng: np.random.Generator, routes: list[Route], which: Ints) -> tuple[Ints, Ints, Ints]:
    n = len(which)
    features = [FEATURES[r.feature] for r in routes]
    shapes = np.array([TOKEN_SHAPES[f.tokens] for f in features])[which]
    scale = np.array([f.input_scale for f in features])[which]
    inputs = shapes[:, 0] * scale * np.exp(rng.normal(0, 1, n) * shapes[:, 1])
    outputs = shapes[:, 2] * np.exp(rng.normal(0, 1, n) * shapes[:, 3])
    # A cache hit reads 80 % of the prompt; the feature's mean share sets how often it happens.
    share = np.array([f.cached for f in features])[which]
    cached = np.where(rng.random(n) < share / 0.8, 0.8, 0.0)
    total = np.maximum(np.rint(inputs), 1)
    return (
        total.astype(np.int64),
        np.floor(total * cached).astype(np.int64),
        np.maximum(np.rint(outputs), 1).astype(np.int64),
    )


def _latency(
    rng: np.random.Generator, routes: list[Route], which: Ints, tokens: tuple[Ints, Ints, Ints], hour: Ints
) -> tuple[Floats, Floats]:
    speeds = []
    for route in routes:
        if route.model in SERVING:
            kind, at = SERVING[route.model], SERVING_VARIANTS.index(route.variant)
            speeds.append((kind.first_token_ms[at], kind.per_token_ms[at]))
        else:
            speeds.append(API_LATENCY[route.model, route.variant])
    speed = np.array(speeds)[which]
    busy = 1 + 0.18 * np.cos(2 * np.pi * (hour - 14) / 24)
    prompt = 0.6 + 0.4 * (tokens[0] - tokens[1]) / 1000
    first = speed[:, 0] * prompt * busy * np.exp(rng.normal(0, 0.35, len(which)))
    rest = tokens[2] * speed[:, 1] * busy * np.exp(rng.normal(0, 0.12, len(which)))
    return first, first + rest


def _environment(draw: Floats, gateway: np.ndarray) -> list[str]:
    limits = np.array([limit for _, limit in _ENVIRONMENTS])
    found = np.searchsorted(limits, draw, side="right").clip(0, len(limits) - 1)
    names = [name for name, _ in _ENVIRONMENTS]
    return [names[i] if through else "prod" for i, through in zip(found, gateway, strict=True)]


def _customers(rng: np.random.Generator, routes: list[Route], which: Ints, gateway: np.ndarray) -> pl.Series:
    weights = 1 / np.arange(1, len(CUSTOMERS) + 1) ** 0.8
    drawn = rng.choice(len(CUSTOMERS), len(which), p=weights / weights.sum())
    names: list[str | None] = []
    for number, route_number, through in zip(drawn, which, gateway, strict=True):
        route = routes[route_number]
        feature = FEATURES[route.feature]
        own = None if through else feature.dedicated_to.get(route.model)
        names.append(own or CUSTOMERS[number] if feature.has_customers else None)
    return pl.Series(names, dtype=pl.String)
