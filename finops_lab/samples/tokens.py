"""The model vendor's bill: tokens by project, model, variant and direction."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from finops_lab.samples.charges import concat, usage
from finops_lab.samples.company import (
    API_MODELS,
    API_PRICES,
    API_VARIANTS,
    DIRECTIONS,
    FEATURES,
    PRICE_CUT,
)
from finops_lab.samples.demand import CACHE_HITS, ERROR_RATE, Demand, Route, token_means
from finops_lab.samples.plants import ANOMALIES, Plants
from finops_lab.samples.seeds import Ints, rounded, stream

__all__ = ["price", "token_bill"]

_METERS = dict(zip(DIRECTIONS, ("Input Tokens", "Cached Input Tokens", "Output Tokens"), strict=True))


def price(model: str, variant: str, direction: str, day: date, plants: Plants) -> tuple[int, int]:
    """Return list and contracted price of a million tokens on a day, in units of 0.0001 USD.

    Examples
    --------
    >>> price("quill-large", "standard", "output", date(2026, 9, 1), Plants())
    (120000, 114000)
    """
    since, *sku, cut = PRICE_CUT
    if plants.on and [model, variant, direction] == sku and day >= since:
        return cut
    return API_PRICES[model, variant][DIRECTIONS.index(direction)]


def token_bill(seed: int, demand: Demand, plants: Plants) -> pl.DataFrame:
    """Return a charge per day, project, model, variant and token direction.

    Failed calls and calls answered by the gateway's own cache are not billed. Shared gateway calls
    are one project without a team.
    """
    frames = []
    for model in API_MODELS:
        for variant in API_VARIANTS:
            direct = [r for r in demand.of(gateway=False) if (r.model, r.variant) == (model, variant)]
            for route in direct:
                frames += _project(seed, [route], demand, plants)
            shared = [r for r in demand.of(gateway=True) if (r.model, r.variant) == (model, variant)]
            frames += _project(seed, shared, demand, plants)
    return concat(frames)


def _project(seed: int, routes: list[Route], demand: Demand, plants: Plants) -> list[pl.DataFrame]:
    first = routes[0]
    project = "shared-gateway" if first.gateway else first.feature
    feature = None if first.gateway else FEATURES[first.feature]
    rng = stream(seed, f"tokens/{project}/{first.model}/{first.variant}")
    noise = np.exp(rng.normal(0, 0.008, len(demand.days)))
    frames = []
    for index, direction in enumerate(DIRECTIONS):
        quantity = np.zeros(len(demand.days), dtype=np.int64)
        extra = np.zeros(len(demand.days), dtype=np.int64)
        for route in routes:
            mean = token_means(FEATURES[route.feature])[index] * (1 - ERROR_RATE) * (1 - CACHE_HITS)
            quantity += _tokens(demand.calls[route], mean, noise)
            if route in demand.extra:
                extra += _tokens(demand.extra[route], mean, noise)
        for era, (prices, version) in _eras(first, direction, demand, plants):
            frames.append(
                usage(
                    demand.days,
                    np.where(era, quantity, 0),
                    prices,
                    {
                        "provider": "vendor",
                        "service_category": "AI and Machine Learning",
                        "service_subcategory": "Generative AI",
                        "service": "Example Models API",
                        "account": project,
                        "sku": f"{first.model}-{first.variant}-{direction}",
                        "sku_price": f"{first.model}-{first.variant}-{direction}-{version}",
                        "meter": _METERS[direction],
                        "description": f"{_METERS[direction]} of {first.model}, {first.variant}",
                        "unit": "1000000 Tokens",
                        "consumed_unit": "Tokens",
                        "price_details": f'{{"ModelDeveloper":"Example Models","ModelFamily":"quill",'
                        f'"ModelId":"{first.model}","ServiceTier":"{first.variant}",'
                        f'"TokenDirection":"{"Output" if direction == "output" else "Input"}"}}',
                        "team": feature.team if feature else None,
                        "feature": feature.name if feature else None,
                        "environment": "prod",
                    },
                    extra6=np.where(era, extra, 0),
                    plant=ANOMALIES["retry-storm"].id,
                    per=1_000_000,
                )
            )
    return frames


def _tokens(calls: Ints, mean: float, noise: np.ndarray) -> Ints:
    return rounded(calls * mean * noise, 1000)


def _eras(
    route: Route, direction: str, demand: Demand, plants: Plants
) -> list[tuple[np.ndarray, tuple[tuple[int, int], str]]]:
    since, *sku, _ = PRICE_CUT
    before = demand.days < np.datetime64(since)
    old = price(route.model, route.variant, direction, date(2024, 5, 1), plants)
    if not plants.on or [route.model, route.variant, direction] != sku:
        return [(np.ones(len(before), dtype=bool), (old, "v1"))]
    new = price(route.model, route.variant, direction, since, plants)
    return [(before, (old, "v1")), (~before, (new, "v2"))]
