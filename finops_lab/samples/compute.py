"""GPU instances: the pools that serve self-hosted models, and staging and dev nodes."""

from __future__ import annotations

import numpy as np
import polars as pl

from finops_lab.samples.charges import concat, usage
from finops_lab.samples.company import (
    FEATURES,
    FIRST_DAY,
    PLATFORM,
    REGIONS,
    SERVING,
    SERVING_VARIANTS,
    TEAMS,
    UTILIZATION,
    Serving,
    Team,
)
from finops_lab.samples.demand import Demand, Route
from finops_lab.samples.plants import ANOMALIES, MISTAG, Plants
from finops_lab.samples.seeds import Floats, Ints, index_of, rounded, stream

__all__ = ["nonprod", "pool_name", "serving"]


def pool_name(route: Route) -> str:
    """Return the name of the pool that serves a route; it is also the resource's name."""
    owner = "gateway" if route.gateway else route.feature
    return f"{owner}-{route.model}-{route.variant}"


def serving(seed: int, demand: Demand, plants: Plants) -> pl.DataFrame:
    """Return a charge per day and serving pool: instance hours that follow the calls."""
    frames = []
    for route in demand.of(gateway=False):
        if route.model in SERVING:
            frames.append(_pool(seed, route, demand.calls[route].astype(np.float64), plants))
    for model in SERVING:
        for variant in SERVING_VARIANTS:
            shared = [r for r in demand.of(gateway=True) if (r.model, r.variant) == (model, variant)]
            calls = np.sum([demand.calls[r] for r in shared], axis=0).astype(np.float64)
            frames.append(_pool(seed, Route("gateway", model, variant, True), calls, plants))
    return concat(frames)


def _pool(seed: int, route: Route, calls: Floats, plants: Plants) -> pl.DataFrame:
    kind = SERVING[route.model]
    name = pool_name(route)
    rng = stream(seed, f"pool/{name}")
    seconds = kind.gpu_seconds[SERVING_VARIANTS.index(route.variant)]
    # The autoscaler keeps utilization near its target, never exactly; a live pool keeps a GPU warm.
    hours = calls * seconds / 3600 / (UTILIZATION * np.exp(rng.normal(0, 0.03, len(calls)))) / kind.gpus
    hours = np.where(calls > 0, np.maximum(hours, 1.5 / kind.gpus), 0.0)
    team = PLATFORM if route.gateway else TEAMS[FEATURES[route.feature].team]
    account = "shared-gateway" if route.gateway else f"{team.name}-prod"
    feature = None if route.gateway else FEATURES[route.feature]
    frame = usage(
        np.arange(np.datetime64(FIRST_DAY), np.datetime64(FIRST_DAY) + len(calls)),
        rounded(hours * 1_000_000, 10_000),
        (kind.list_price, kind.contracted_price),
        {
            **_instance(kind, team),
            "account": account,
            "resource_id": _resource_id(kind, name),
            "resource_name": name,
            # The gateway is shared: nobody tagged it with a team.
            "team": None if feature is None else team.name,
            "feature": None if feature is None else feature.name,
            "product": None if feature is None else feature.product,
            "customer": None if feature is None else feature.dedicated_to.get(route.model),
            "model": route.model,
            "variant": route.variant,
            "environment": "prod",
        },
    )
    day, named, model, variant, wrong = MISTAG
    if plants.on and (route.feature, route.model, route.variant) == (named, model, variant):
        late = pl.col("start") >= day
        frame = frame.with_columns(
            pl.when(late).then(pl.lit(wrong)).otherwise(pl.col("team")).alias("team"),
            pl.when(late).then(pl.lit("mis-tagged-team")).otherwise(pl.col("plant")).alias("plant"),
            pl.when(late).then(pl.col("effective10")).otherwise(pl.col("plant10")).alias("plant10"),
        )
    return frame


def _resource_id(kind: Serving, name: str) -> str:
    if kind.cloud == "aws":
        return f"arn:aws:autoscaling:synthetic:autoScalingGroup/{name}"
    return f"//compute.example/projects/synthetic/instanceGroups/{name}"


def _instance(kind: Serving, team: Team) -> dict[str, str | None]:
    region = REGIONS[kind.cloud][team.region]
    if kind.cloud == "aws":
        return {
            "provider": "aws",
            "service_category": "Compute",
            "service_subcategory": "Virtual Machines",
            "service": "Amazon Elastic Compute Cloud",
            "region": region,
            "resource_type": "Instance",
            "sku": f"EC2-{kind.instance}",
            "sku_price": f"EC2-{kind.instance}.OnDemand",
            "meter": f"BoxUsage:{kind.instance}",
            "description": f"On Demand Linux {kind.instance} Instance Hour",
            "unit": "Hours",
            "consumed_unit": "Hours",
            "price_details": f'{{"InstanceType":"{kind.instance}","GpuCount":{kind.gpus}}}',
        }
    return {
        "provider": "gcp",
        "service_category": "Compute",
        "service_subcategory": "Virtual Machines",
        "service": "Compute Engine",
        "region": region,
        "resource_type": "Instance",
        "sku": f"GCE-{kind.instance}",
        "sku_price": f"GCE-{kind.instance}.ondemand",
        "meter": f"{kind.gpu_model} with {kind.instance}",
        "description": f"{kind.gpu_model} GPU attached, {kind.instance} running in {region}",
        "unit": "Hours",
        "consumed_unit": "Hours",
        "price_details": f'{{"InstanceType":"{kind.instance}","GpuCount":{kind.gpus}}}',
    }


def nonprod(seed: int, demand: Demand, plants: Plants) -> pl.DataFrame:
    """Return the staging and dev nodes of the teams: working days only, office hours."""
    frames = []
    weekday = (demand.days.astype("datetime64[D]").astype(np.int64) + 3) % 7
    for team in TEAMS.values():
        kind = SERVING["larch-7b" if team.dev_cloud == "aws" else "alder-13b"]
        for environment, nodes in (("staging", 5.0), ("dev", 4.0)):
            rng = stream(seed, f"nonprod/{team.name}/{environment}")
            hours = nodes * rng.uniform(8, 13, len(demand.days))
            quantity = rounded(np.where(weekday < 5, hours, 0.0) * 1_000_000, 100_000)
            extra: Ints | None = None
            left_on = ANOMALIES["dev-nodes-left-on"]
            if plants.on and (team.name, environment) == (left_on.team, "dev"):
                extra = np.zeros(len(quantity), dtype=np.int64)
                for day in left_on.days():
                    extra[index_of(day, FIRST_DAY)] = 40 * 24 * 1_000_000
                quantity = quantity + extra
            name = f"{team.name}-{environment}-nodes"
            frames.append(
                usage(
                    demand.days,
                    quantity,
                    (kind.list_price, kind.contracted_price),
                    {
                        **_instance(kind, team),
                        "account": f"{team.name}-{environment}",
                        "resource_id": _resource_id(kind, name),
                        "resource_name": name,
                        "team": team.name,
                        "environment": environment,
                    },
                    extra6=extra,
                    plant=left_on.id,
                )
            )
    return concat(frames)
