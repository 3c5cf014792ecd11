"""Deploys of a year: which model version went into service where, what was rolled back, what changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from finops_lab.samples.company import FEATURES, LAST_DAY, SERVING_VARIANTS
from finops_lab.samples.compute import pool_name
from finops_lab.samples.demand import Route
from finops_lab.samples.plants import INCIDENT, Plants
from finops_lab.samples.seeds import stream
from finops_lab.samples.training import Job

__all__ = ["deploys"]

_SINCE = datetime(2025, 11, 1, tzinfo=UTC)
_END = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, tzinfo=UTC) + timedelta(days=1)
# Services that run a fine-tuned model instead of the retrained one, and the team that tunes it.
_TUNED = {("semantic-index", "larch-7b"): "search", ("ticket-triage", "alder-13b"): "support"}
# A service takes every third retrain or so, and every fine-tuning of its own.
_TAKEN = {"retrain": 0.34, "finetune": 1.0}
_FAILED, _ROLLED_BACK, _CONFIGS = 0.03, 0.05, 20


def deploys(seed: int, all_jobs: list[Job], plants: Plants) -> pl.DataFrame:
    """Return what happened to each service and pool as the export `deploys.csv`.

    Versions are those of completed training jobs, a day or two after they were trained. All pools
    of a service's model go one after the other. The planted bad deploy is one of its service's
    own, with the newest version there was.
    """
    rows: list[dict[str, str | None]] = []
    for feature in FEATURES.values():
        for model in feature.self_hosted:
            rng = stream(seed, f"deploys/{feature.name}/{model}")
            ready = _ready(all_jobs, feature.name, model)
            current: str | None = None
            for trained, version, kind in ready:
                draws = rng.random(4)
                # The first version there is has to serve.
                if current is not None and draws[0] >= _TAKEN[kind]:
                    continue
                at = _office(trained + timedelta(days=1 + int(draws[1] * 2)), draws[2])
                if feature.launched and at.date() < feature.launched and plants.on:
                    continue
                if at >= _END or _near_incident(feature.name, model, at):
                    continue
                status = "failed" if draws[3] < _FAILED else "succeeded"
                rows += _roll(rng, feature.name, model, version, at, "deploy", status)
                if current is not None and draws[3] > 1 - _ROLLED_BACK:
                    back = at + timedelta(minutes=int(rng.integers(40, 300)))
                    rows += _roll(rng, feature.name, model, current, back, "rollback", "succeeded")
                elif status == "succeeded":
                    current = version
            if plants.on and (feature.name, model) == (INCIDENT.service, INCIDENT.model):
                assert current is not None
                newest = max((done, name) for done, name, _ in ready if done < INCIDENT.deployed)[1]
                for kind, taken, at in (
                    ("deploy", newest, INCIDENT.deployed),
                    ("rollback", current, INCIDENT.rolled_back),
                ):
                    rows += _roll(rng, feature.name, model, taken, at, kind, "succeeded", apart=0)
        rows += _configs(seed, feature.name)
    return pl.DataFrame(rows).sort("ts", "service", "pool_id", "kind", nulls_last=True)


def _ready(all_jobs: list[Job], feature: str, model: str) -> list[tuple[datetime, str, str]]:
    """Return when which version was trained, oldest first."""
    team = _TUNED.get((feature, model))
    return sorted(
        (job.end, job.version, job.kind)
        for job in all_jobs
        if job.model == model
        and job.state == "completed"
        and job.kind == ("retrain" if team is None else "finetune")
        and (team is None or job.team == team)
        and job.start >= _SINCE
    )


def _near_incident(feature: str, model: str, at: datetime) -> bool:
    """Tell whether a deploy would come between the planted one and what that is held against."""
    own = (feature, model) == (INCIDENT.service, INCIDENT.model)
    return own and at >= INCIDENT.deployed - timedelta(days=9)


def _office(day: datetime, draw: float) -> datetime:
    """Return a moment in office hours of that day, or of the Monday after it."""
    if day.weekday() >= 5:
        day += timedelta(days=7 - day.weekday())
    return day.replace(hour=8, minute=0, second=0) + timedelta(minutes=int(draw * 480))


def _roll(
    rng: np.random.Generator,
    feature: str,
    model: str,
    version: str,
    at: datetime,
    kind: str,
    status: str,
    apart: int = 4,
) -> list[dict[str, str | None]]:
    commit = f"{int(rng.integers(16**12)):012x}"
    return [
        {
            "ts": f"{at + number * timedelta(minutes=apart):%Y-%m-%dT%H:%M:%SZ}",
            "service": feature,
            "pool_id": pool_name(Route(feature, model, variant)),
            "environment": "prod",
            "model": model,
            "model_version": version,
            "commit": commit,
            "kind": kind,
            "status": status,
        }
        for number, variant in enumerate(SERVING_VARIANTS)
    ]


def _configs(seed: int, feature: str) -> list[dict[str, str | None]]:
    rng = stream(seed, f"configs/{feature}")
    days = (_END - _SINCE).days
    return [
        {
            "ts": f"{_office(_SINCE + timedelta(days=int(day)), draw):%Y-%m-%dT%H:%M:%SZ}",
            "service": feature,
            "pool_id": None,
            "environment": "prod",
            "model": None,
            "model_version": None,
            "commit": f"{int(commit):012x}",
            "kind": "config",
            "status": "succeeded",
        }
        for day, draw, commit in zip(
            rng.integers(0, days - 3, _CONFIGS), rng.random(_CONFIGS), rng.integers(16**12, size=_CONFIGS),
            strict=True,
        )
    ]  # fmt: skip
