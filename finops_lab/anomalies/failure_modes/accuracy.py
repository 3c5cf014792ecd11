"""F2, accuracy loss after optimization: fewer of n items right than the reference, or than before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from finops_lab.anomalies.event import EVENTS, as_events
from finops_lab.anomalies.failure_modes._chances import score
from finops_lab.errors import InputError
from finops_lab.unit_economics.failures import ACCURACIES

__all__ = ["REFERENCES", "accuracy_losses"]

# Variants that nothing was saved on yet, the first first.
REFERENCES = ("fp32", "bf16", "fp16", "standard", "base")
_POOLED = 3  # evaluations that are added up, at most


def accuracy_losses(
    samples: pl.LazyFrame | pl.DataFrame,
    deploys: pl.LazyFrame | pl.DataFrame | None = None,
    *,
    margin: float = 0.01,
    alpha: float = 0.001,
    references: Sequence[str] = REFERENCES,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Find variants that answer fewer items right than they should.

    Two comparisons of every evaluation, on each data set: with the reference variant of its model
    (`references`), the newest evaluations alone and the last three added up; and with the variant itself,
    the three evaluations before. A loss counts when it is surely above `margin`: score test of two
    shares of n items with Agresti and Caffo's (2000) added items.

    Parameters
    ----------
    samples : polars.LazyFrame or polars.DataFrame
        `accuracy_samples`. Metrics that are no share of right answers, and rows without n, do not count.
    deploys : polars.LazyFrame or polars.DataFrame, optional
        `deploys`: ``note`` names the last one of the model before the loss.
    margin : float
        Loss that is borne, in the metric's unit.
    alpha : float
        Chance that a comparison of a variant without more than that loss makes an event.
    references : sequence of str
        Names of variants to compare with, in lower case; the first that was evaluated.
    since : datetime.datetime, optional
        Events detected before are left out.

    Returns
    -------
    polars.DataFrame
        `EVENTS`, failure mode F2, one for each time that a variant goes below on a data set. ``dimension``
        is ``variant``, ``value`` is model / variant / data set. ``first`` is the evaluation that showed
        it, ``last`` the last that still does. ``low`` is what would have been borne.

    Raises
    ------
    InputError
        A margin below 0, or a chance outside 0 to 1.

    Examples
    --------
    >>> day = datetime(2026, 10, 2, tzinfo=UTC)
    >>> rows = pl.DataFrame({"ts": [day, day], "model": "m", "variant": ["bf16", "int4"], "dataset": "qa",
    ...     "metric": "accuracy", "value": [0.80, 0.72], "n": [2000, 2000], "higher_is_better": True})
    >>> accuracy_losses(rows).select("value", "actual", "expected").row(0)
    ('m / int4 / qa', 0.72, 0.8)
    """
    if margin < 0 or not 0 < alpha < 1:
        raise InputError("a margin is 0 or more, a chance lies between 0 and 1")
    rows = _usable(samples)
    keys = ["model", "dataset", "metric", "split"]
    found: list[dict[str, Any]] = []
    for part in rows.partition_by(keys, maintain_order=True):
        variants = part["variant"].unique(maintain_order=True).to_list()
        reference = next((v for name in references for v in variants if v and v.lower() == name), None)
        of = {
            v: part.filter(pl.col("variant").eq_missing(pl.lit(v, pl.String))).rows(named=True)
            for v in variants
        }
        for variant, own in of.items():
            if reference is not None and variant != reference:
                found += _against(own, of[reference], margin, alpha, reference)
            found += _against(own, None, margin, alpha, None)
    if not found:
        return pl.DataFrame(schema=EVENTS)
    if deploys is not None:
        found = _deployed(found, deploys)
    names = [{k: v for k, v in one.items() if not k.startswith("_")} for one in found]
    events = as_events(pl.DataFrame(names, schema_overrides=EVENTS, infer_schema_length=None))
    return events if since is None else events.filter(pl.col("detected") >= since)


def _usable(samples: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    frame = samples.lazy()
    known = frame.collect_schema()
    kept = (
        pl.col("metric").str.to_lowercase().is_in(list(ACCURACIES))
        & pl.col("higher_is_better")
        & pl.col("value").is_between(0, 1)
        & (pl.col("n") > 0)
    )
    texts = [
        (pl.col(name) if name in known else pl.lit(None)).cast(pl.String).alias(name)
        for name in ("model", "variant", "dataset", "metric", "split", "model_version")
    ]
    columns = (pl.col("ts"), *texts, pl.col("value"), pl.col("n").cast(pl.Int64))
    return frame.filter(kept.fill_null(False)).select(columns).sort("ts", *texts, nulls_last=True).collect()


def _against(
    own: list[dict[str, Any]],
    other: list[dict[str, Any]] | None,
    margin: float,
    alpha: float,
    reference: str | None,
) -> list[dict[str, Any]]:
    """Walk through evaluations of a variant; an event is a stretch of them that lose."""
    found: list[dict[str, Any]] = []
    running = False
    # With the reference, the newest evaluations and three together are two tests.
    limit = score(alpha if other is None else alpha / 2)
    for at, one in enumerate(own):
        if other is None:
            # Before the loss: what came down is compared with what it came down from.
            stop = at if not running else found[-1]["_at"]
            before, now = own[max(0, stop - _POOLED) : stop], [one]
        else:
            sides = [_beside(own[max(0, at - many + 1) : at + 1], other) for many in (1, _POOLED)]
            before, now = max(
                sides, key=lambda one: _distance(_share(one[1]), _share(one[0]), margin) if one[0] else 0
            )
        if not before:
            continue
        mine, theirs = _share(now), _share(before)
        distance = _distance(mine, theirs, margin)
        if distance <= limit:
            running = False
            continue
        if running:
            found[-1].update(last=one["ts"], score=max(found[-1]["score"], distance))
            continue
        running = True
        found.append(_event(one, at, mine, theirs, margin, distance, limit, reference))
    return found


_Rows = list[dict[str, Any]]


def _beside(now: _Rows, other: _Rows) -> tuple[_Rows, _Rows]:
    """Return the reference's evaluations of the same moments, else its last one, and the variant's."""
    moments = {row["ts"] for row in now}
    same = [row for row in other if row["ts"] in moments]
    return same or [row for row in other if row["ts"] <= now[-1]["ts"]][-1:], now


def _share(rows: list[dict[str, Any]]) -> tuple[float, int]:
    n = sum(row["n"] for row in rows)
    return sum(row["value"] * row["n"] for row in rows) / n, n


def _distance(mine: tuple[float, int], theirs: tuple[float, int], margin: float) -> float:
    (p, n), (q, m) = mine, theirs
    # Agresti and Caffo (2000): one more right and one more wrong on each side.
    p_, q_ = (p * n + 1) / (n + 2), (q * m + 1) / (m + 2)
    spread = (p_ * (1 - p_) / (n + 2) + q_ * (1 - q_) / (m + 2)) ** 0.5
    return float((q_ - p_ - margin) / spread)


def _event(
    one: dict[str, Any],
    at: int,
    mine: tuple[float, int],
    theirs: tuple[float, int],
    margin: float,
    distance: float,
    limit: float,
    reference: str | None,
) -> dict[str, Any]:
    against = f"its reference {reference}" if reference is not None else "its evaluations before"
    split = f" ({one['split']})" if one["split"] else ""
    return {
        "kind": "failure_mode",
        "failure_mode": "F2",
        "detector": "accuracy against reference" if reference is not None else "accuracy against before",
        "metric": one["metric"] + (" against reference" if reference is not None else ""),
        "unit": "ratio",
        "dimension": "variant",
        "value": " / ".join((one["model"], one["variant"] or "-", one["dataset"] + split)),
        "x_model": one["model"],
        "first": one["ts"],
        "last": one["ts"],
        "direction": "down",
        "actual": mine[0],
        "expected": theirs[0],
        "low": theirs[0] - margin,
        "score": distance,
        "threshold": limit,
        "detected": one["ts"],
        "note": f"{mine[0]:.1%} of {mine[1]:,} items right, {theirs[0]:.1%} of {theirs[1]:,} by {against}",
        "_at": at,
    }


def _deployed(found: list[dict[str, Any]], deploys: pl.LazyFrame | pl.DataFrame) -> list[dict[str, Any]]:
    rows = deploys.lazy().filter(pl.col("kind") != "rollback", pl.col("model").is_not_null())
    known = (
        rows.select("ts", "service", "model", "model_version")
        .collect()
        .sort("ts", "service")
        .rows(named=True)
    )
    for event in found:
        last = next(
            (d for d in reversed(known) if d["model"] == event["x_model"] and d["ts"] <= event["first"]), None
        )
        if last is not None:
            moment = last["ts"].astimezone(UTC)
            event["note"] += (
                f"; last deployed {moment:%Y-%m-%d %H:%M}, {last['model_version']} by {last['service']}"
            )
    return found
