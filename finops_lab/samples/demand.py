"""Calls per day to every model and variant: the one volume behind bills, requests and value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from finops_lab.samples.company import (
    FEATURES,
    FIRST_DAY,
    GATEWAY_DAILY,
    GATEWAY_SINCE,
    LAST_DAY,
    MODELS,
    SERVING,
    TOKEN_SHAPES,
    VARIANT_STARTS,
    VARIANTS,
    WEEK,
    Feature,
)
from finops_lab.samples.plants import ANOMALIES, Plants
from finops_lab.samples.seeds import Days, Floats, Ints, days, index_of, rounded, stream

__all__ = ["CACHE_HITS", "ERROR_RATE", "Demand", "Route", "demand", "token_means"]

# Calls to the model vendor that fail, and those that the gateway answers from its own cache.
ERROR_RATE, CACHE_HITS = 0.012, 0.015


@dataclass(frozen=True)
class Route:
    """Who calls what: a feature, a model, a variant, and whether through the shared gateway."""

    feature: str
    model: str
    variant: str
    gateway: bool = False


@dataclass(frozen=True)
class Demand:
    """Calls per day and route; `extra` are the planted ones among them."""

    days: Days
    calls: dict[Route, Ints]
    extra: dict[Route, Ints]

    def of(self, *, feature: str | None = None, gateway: bool | None = None) -> list[Route]:
        """Return the routes of a feature, through the gateway or not."""
        return [
            route
            for route in self.calls
            if (feature is None or route.feature == feature) and (gateway is None or route.gateway == gateway)
        ]


def demand(seed: int, plants: Plants) -> Demand:
    """Simulate the calls of every day of the period.

    A feature's volume is growth x season of the year x weekday x slow noise, times its launch.
    """
    axis = days(FIRST_DAY, LAST_DAY)
    calls: dict[Route, Ints] = {}
    extra: dict[Route, Ints] = {}
    shares = _variant_shares(axis)
    for feature in FEATURES.values():
        total = _volume(feature, axis, stream(seed, f"demand/{feature.name}"), plants)
        for model, share in feature.self_hosted.items():
            for variant in VARIANTS[model]:
                calls[Route(feature.name, model, variant)] = rounded(total * share * shares[variant], 10)
        for model, share in feature.api.items():
            for variant, part in feature.api_variants.items():
                calls[Route(feature.name, model, variant)] = rounded(total * share * part, 10)
        gateway = _gateway(feature, axis, total)
        for model in MODELS:
            for variant in VARIANTS[model]:
                # Variants that do not exist yet are not called; their share stays with the others.
                exists = shares[variant] > 0 if model in SERVING else np.ones(len(axis), dtype=bool)
                calls[Route(feature.name, model, variant, True)] = rounded(gateway / 18 * exists, 10)
    if plants.on:
        storm = ANOMALIES["retry-storm"]
        route = Route("ticket-triage", "quill-small", "mini")
        planted = np.zeros(len(axis), dtype=np.int64)
        for day in storm.days():
            at = index_of(day, FIRST_DAY)
            planted[at] = calls[route][at] * 14
        calls[route] = calls[route] + planted
        extra[route] = planted
    return Demand(axis, calls, extra)


def token_means(feature: Feature) -> tuple[float, float, float]:
    """Return mean uncached input, cached input and output tokens of a successful call."""
    median_in, sigma_in, median_out, sigma_out = TOKEN_SHAPES[feature.tokens]
    inputs = median_in * feature.input_scale * math.exp(sigma_in**2 / 2)
    outputs = median_out * math.exp(sigma_out**2 / 2)
    return inputs * (1 - feature.cached), inputs * feature.cached, outputs


def _volume(feature: Feature, axis: Days, rng: np.random.Generator, plants: Plants) -> Floats:
    n = len(axis)
    position = np.arange(n)
    growth = feature.growth ** ((position - (n - 1)) / (n - 1))
    weekday = (axis.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    week = 1 + feature.weekly * (np.array(WEEK)[weekday] - 1)
    year = axis.astype("datetime64[Y]")
    of_year = (axis - year).astype(np.int64)
    season = 1 + 0.09 * np.cos(2 * np.pi * (of_year - 310) / 365.25)
    # Between Christmas and New Year offices are empty.
    holiday = np.where((of_year >= 356) | (of_year <= 1), 1 - 0.22 * min(feature.weekly, 1.0), 1.0)
    slow = np.empty(n)
    level = 0.0
    for i, shock in enumerate(rng.normal(0, 0.022, n)):
        level = 0.75 * level + shock
        slow[i] = level
    volume = feature.daily * growth * week * season * holiday * np.exp(slow)
    if feature.launched and plants.on:
        since = position - index_of(feature.launched, FIRST_DAY)
        volume = volume * np.where(since < 0, 0.0, np.minimum(1.0, 0.6 + since / 50))
    return np.asarray(volume, dtype=np.float64)


def _variant_shares(axis: Days) -> dict[str, Floats]:
    shares = {}
    for variant, (start, ramp, full) in VARIANT_STARTS.items():
        since = np.arange(len(axis)) - index_of(start, FIRST_DAY)
        shares[variant] = np.where(since < 0, 0.0, full * np.minimum(1.0, 0.15 + since / ramp))
    # int4 takes its calls from int8, int8 from bf16.
    shares["int8"] = shares["int8"] * (1 - shares["int4"])
    return {"bf16": 1 - shares["int8"] - shares["int4"], **shares}


def _gateway(feature: Feature, axis: Days, total: Floats) -> Floats:
    since = np.arange(len(axis)) - index_of(GATEWAY_SINCE, FIRST_DAY)
    adopted = np.clip(since / 150, 0.0, 1.0)
    shape = total / max(float(total[-28:].mean()), 1.0)
    return np.asarray(np.where(total > 0, GATEWAY_DAILY * adopted * (0.4 + 0.6 * shape), 0.0))
