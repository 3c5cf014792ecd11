"""Training jobs, the spot capacity they lose, and what the cloud bills for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from finops_lab.samples.charges import decimal, priced
from finops_lab.samples.company import FIRST_DAY, LAST_DAY, REGIONS
from finops_lab.samples.plants import RUNAWAY, Plants
from finops_lab.samples.seeds import stream

__all__ = ["Job", "evictions_table", "jobs", "jobs_table", "training_bill"]

# Times are multiples of three minutes: 0.05 h, so that hours and money stay exact.
TICK = timedelta(minutes=3)
_EXPORTED_SINCE = date(2025, 11, 1)
_EVICTIONS_SINCE = date(2026, 5, 1)


@dataclass(frozen=True)
class Machine:
    """An instance type for training; prices in units of 0.0001 USD an hour."""

    cloud: str
    instance: str
    gpu_model: str
    gpus: int
    list_price: int
    contracted: int
    spot: int


_H100 = Machine("aws", "ml.p5.48xlarge", "NVIDIA H100 80GB HBM3", 8, 632960, 569664, 256348)
_L40S = Machine("aws", "ml.g6e.12xlarge", "NVIDIA L40S", 4, 131158, 118042, 53118)
_A100 = Machine("gcp", "a2-ultragpu-8g", "NVIDIA A100-SXM4-80GB", 8, 461760, 415584, 187012)
# Machine, instances, and usual hours of a weekly retrain.
_RETRAIN = {
    "larch-7b": (_L40S, 2, 9.0),
    "larch-70b": (_H100, 4, 13.0),
    "alder-13b": (_A100, 1, 10.0),
    "alder-34b": (_A100, 2, 12.0),
}


@dataclass(frozen=True)
class Job:
    """One attempt of a training job."""

    id: str
    attempt: int
    model: str
    version: str
    kind: str
    team: str
    machine: Machine
    instances: int
    purchase: str
    submit: datetime
    start: datetime
    ticks: int
    state: str
    lost_ticks: int
    plant: str | None = None

    @property
    def end(self) -> datetime:
        """The moment the instances were released."""
        return self.start + self.ticks * TICK

    @property
    def price(self) -> int:
        """The contracted price of an instance hour, in units of 0.0001 USD."""
        return self.machine.spot if self.purchase == "spot" else self.machine.contracted

    @property
    def cost10(self) -> int:
        """The job's cost: instance hours x price, in units of 10^-10 USD."""
        return self.instances * self.ticks * 50_000 * self.price


def jobs(seed: int, plants: Plants) -> list[Job]:
    """Simulate every attempt: weekly retrains, their evaluations, tuning and fine-tuning.

    Failed and cancelled attempts are frequent and short or long at random: in the AcmeTrace
    clusters they are half of the GPU jobs.
    """
    rng = stream(seed, "training")
    found: list[Job] = []
    week = 0
    monday = FIRST_DAY - timedelta(days=FIRST_DAY.weekday()) + timedelta(days=7)
    while monday + timedelta(days=6) <= LAST_DAY:
        for offset, (model, (machine, instances, hours)) in enumerate(_RETRAIN.items()):
            version = f"{model}-{monday:%Y%m%d}"
            day = monday + timedelta(days=1 + offset)
            # Models grew with the traffic; so did their training.
            scale = 0.55 + 0.45 * week / 130
            spot = model in ("larch-7b", "alder-13b")
            found += _attempts(
                rng,
                f"retrain-{version}",
                model,
                version,
                "retrain",
                "research",
                machine,
                instances,
                hours * scale,
                spot,
                day,
            )
            found += _attempts(
                rng,
                f"eval-{version}",
                model,
                version,
                "eval",
                "research",
                _L40S,
                1,
                1.2,
                False,
                day + timedelta(days=1),
            )
        if week % 2 == 0:
            found += _attempts(
                rng,
                f"tune-{monday:%Y%m%d}",
                "alder-34b",
                f"tune-{monday:%Y%m%d}",
                "tune",
                "research",
                _A100,
                1,
                16.0,
                True,
                monday,
            )
        if week % 4 == 1:
            for team, model in (("search", "larch-7b"), ("support", "alder-13b")):
                name = f"finetune-{team}-{monday:%Y%m%d}"
                found += _attempts(
                    rng,
                    name,
                    model,
                    name,
                    "finetune",
                    team,
                    _RETRAIN[model][0],
                    1,
                    6.0,
                    False,
                    monday + timedelta(days=2),
                )
        monday += timedelta(days=7)
        week += 1
    return found + (_runaway() if plants.on else [])


def _attempts(
    rng: np.random.Generator,
    name: str,
    model: str,
    version: str,
    kind: str,
    team: str,
    machine: Machine,
    instances: int,
    hours: float,
    spot: bool,
    day: date,
) -> list[Job]:
    begin = datetime(day.year, day.month, day.day, 1, tzinfo=UTC) + int(rng.integers(0, 120)) * TICK
    made: list[Job] = []
    for attempt in range(1, 4):
        draw = float(rng.random())
        whole = max(round(hours * 20 * float(np.exp(rng.normal(0, 0.12)))), 4)
        share = float(rng.uniform(0.05, 0.7))
        wait = int(rng.integers(1, 12))
        kept = float(rng.uniform(0.3, 0.9))
        if draw < 0.76 or attempt == 3:
            state, ticks, lost = "completed", whole, 0
        elif spot and draw < 0.92:
            state, ticks = "preempted", max(int(whole * share), 2)
            lost = int(ticks * (1 - kept))
        elif draw < 0.93:
            state, ticks = "failed", max(int(whole * share), 2)
            lost = ticks
        else:
            state, ticks = "cancelled", max(int(whole * share), 2)
            lost = ticks
        start = begin + wait * TICK
        made.append(
            Job(
                name,
                attempt,
                model,
                version,
                kind,
                team,
                machine,
                instances,
                "spot" if spot else "on_demand",
                begin,
                start,
                ticks,
                state,
                lost,
            )
        )
        if state in ("completed", "cancelled"):
            break
        begin = made[-1].end + 2 * TICK
    return made


def _runaway() -> list[Job]:
    name = "retrain-larch-70b-20261012-v2"
    begin = datetime(2026, 10, 12, 6, tzinfo=UTC)
    made = []
    for attempt, ticks in enumerate((288, 301, 310, 296, 305, 297, 303), 1):
        state = "cancelled" if attempt == 7 else "failed"
        made.append(
            Job(
                name,
                attempt,
                "larch-70b",
                name.removeprefix("retrain-"),
                "retrain",
                "research",
                _H100,
                8,
                "on_demand",
                begin,
                begin + TICK,
                ticks,
                state,
                ticks,
                RUNAWAY.id,
            )
        )
        begin = made[-1].end + 2 * TICK
    return made


def training_bill(all_jobs: list[Job]) -> pl.DataFrame:
    """Return a charge per attempt and day; the charges of an attempt add up to its cost."""
    rows: list[dict[str, object]] = []
    for job in all_jobs:
        texts = _texts(job)
        moment, left = job.start, job.ticks
        while left:
            midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC) + timedelta(days=1)
            ticks = min(left, (midnight - moment) // TICK)
            quantity = job.instances * ticks * 50_000
            amounts = {
                "start": moment.date(),
                "quantity6": quantity,
                "list4": job.machine.list_price,
                "contracted4": job.price,
                "plant10": quantity * job.price if job.plant else 0,
            }
            rows.append({**amounts, **texts})
            moment, left = midnight, left - ticks
    return priced(pl.DataFrame(rows, infer_schema_length=None))


def _texts(job: Job) -> dict[str, str | None]:
    machine, name = job.machine, f"{job.id}-{job.attempt}"
    aws = machine.cloud == "aws"
    jobs_of = "arn:aws:sagemaker:synthetic:training-job" if aws else "//aiplatform.example/customJobs"
    spot = job.purchase == "spot"
    return {
        "provider": machine.cloud,
        "service_category": "AI and Machine Learning",
        "service_subcategory": "Machine Learning",
        "service": "Amazon SageMaker" if aws else "Vertex AI",
        "account": "research-training" if job.team == "research" else f"{job.team}-prod",
        "region": REGIONS[machine.cloud]["us"],
        "resource_id": f"{jobs_of}/{name}",
        "resource_name": name,
        "resource_type": "Training Job",
        "sku": f"Training-{machine.instance}",
        "sku_price": f"Training-{machine.instance}.{job.purchase}",
        "meter": f"Train:{machine.instance}",
        "description": f"{machine.instance} instance hours for training" + (", spot" if spot else ""),
        "pricing_category": "Dynamic" if spot else "Standard",
        "unit": "Hours",
        "consumed_unit": "Hours",
        "price_details": f'{{"InstanceType":"{machine.instance}","GpuCount":{machine.gpus}}}',
        "team": job.team,
        "model": job.model,
        "environment": "research",
        "plant": job.plant,
    }


def jobs_table(all_jobs: list[Job]) -> pl.DataFrame:
    """Return the attempts since November 2025 as the export `training_jobs.csv`."""
    rows = [
        {
            "job_id": job.id,
            "attempt": job.attempt,
            "model": job.model,
            "model_version": job.version,
            "kind": job.kind,
            "team": job.team,
            "ts_submit": _iso(job.submit),
            "ts_start": _iso(job.start),
            "ts_end": _iso(job.end),
            "state": job.state,
            "gpu_model": job.machine.gpu_model,
            "gpu_count": job.machine.gpus * job.instances,
            "node_count": job.instances,
            "instance_type": job.machine.instance,
            "purchase": job.purchase,
            "wall_s": job.ticks * 180,
            "billable_s": job.ticks * 180,
            "lost_work_s": job.lost_ticks * 180,
            "cost_usd": decimal(job.cost10),
        }
        for job in sorted(all_jobs, key=lambda job: (job.start, job.id))
        if job.start.date() >= _EXPORTED_SINCE
    ]
    return pl.DataFrame(rows)


def evictions_table(seed: int, all_jobs: list[Job]) -> pl.DataFrame:
    """Return the interruptions that ended spot attempts as the export `spot_evictions.csv`."""
    rng = stream(seed, "evictions")
    rows = []
    for job in sorted(all_jobs, key=lambda job: (job.start, job.id)):
        if job.state != "preempted" or job.start.date() < _EVICTIONS_SINCE:
            continue
        aws = job.machine.cloud == "aws"
        region = REGIONS[job.machine.cloud]["us"]
        restart = int(rng.integers(120, 900))
        # Two minutes of notice on AWS, thirty seconds on Google Cloud.
        notice = job.end - timedelta(seconds=120 if aws else 30)
        rows.append(
            {
                "ts_lost": _iso(job.end),
                "ts_notice": _iso(notice),
                "ts_recovered": _iso(job.end + timedelta(seconds=restart)),
                "provider": "AWS" if aws else "Google Cloud",
                "region": region,
                "zone": region + ("a" if aws else "-a"),
                "instance_type": job.machine.instance,
                "instance_id": f"i-synthetic-{int(rng.integers(16**8)):08x}",
                "gpu_count": job.machine.gpus * job.instances,
                "kind": "interruption" if rng.random() < 0.85 else "capacity",
                "job_id": job.id,
                "lost_work_s": job.lost_ticks * 180,
                "restart_s": restart,
                "price_usd_per_hour": decimal(job.price, 4),
                "fallback_price_usd_per_hour": decimal(job.machine.contracted, 4),
                "requests_affected": 0,
            }
        )
    return pl.DataFrame(rows)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
