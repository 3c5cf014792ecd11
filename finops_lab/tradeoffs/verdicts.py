"""Verdicts of three values: a claim about a variant is proven, not proven yet, or refuted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.claims import Claim
from finops_lab.tradeoffs.matching import Key
from finops_lab.tradeoffs.measurement import read_measurement
from finops_lab.tradeoffs.multiple import Adjusted, holm
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.trials import Trial, candidates, items_tried, points_tried, rounds_tried
from finops_lab.tradeoffs.wording import MEASURES, because, claimed, in_all

__all__ = ["VERDICTS", "Evidence", "verdicts"]

VERDICTS = {
    "model": pl.String,
    "variant": pl.String,
    "part": pl.String,
    "on": pl.String,
    "claim": pl.String,
    "verdict": pl.String,
    "measure": pl.String,
    "limit": pl.Float64,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "n_needed": pl.Int64,
    "n_needed_if_equal": pl.Int64,
    "p_value": pl.Float64,
    "p_holm": pl.Float64,
    "method": pl.String,
    "why": pl.String,
}


class Evidence(Protocol):
    """What was measured side by side: a `Measurement`, a `Curve`, or anything that has these frames."""

    @property
    def outcomes(self) -> pl.DataFrame:
        """`OUTCOMES`: the score of each item."""

    @property
    def timings(self) -> pl.DataFrame:
        """`TIMINGS`: the times of each round."""


def verdicts(
    source: Evidence | pl.DataFrame | pl.LazyFrame | str | Path,
    claim: Claim,
    *,
    baseline: str,
    model: str | None = None,
    workload: str | None = None,
    dataset: str | None = None,
    quality: str | None = None,
    clock: Literal["cpu_ms", "gpu_ms", "wall_ms", "energy_j"] | None = None,
    level: float = 0.95,
    power: float = 0.80,
) -> pl.DataFrame:
    """Test a claim on every variant: PROVEN, NOT PROVEN (with the n still needed) or REFUTED.

    Parameters
    ----------
    source : Measurement, Curve, polars.DataFrame, polars.LazyFrame, str or pathlib.Path
        Outcomes paired by item and timings paired by round; or a file of a measurement. A frame of `POINTS`
        (or a curve made of one) has neither: shares of right answers are then tested unpaired
        (``quality_n`` items), and cost and latency are point values that prove nothing.
    claim : Claim
        What is claimed of each variant, against the baseline.
    baseline : str
        The variant to compare with, of the same model.
    model, workload, dataset : str, optional
        Only these. Without them a claim must hold on every workload and every data set.
    quality : str, optional
        The metric; without it the only one, or ``accuracy`` among several.
    clock : {"cpu_ms", "gpu_ms", "wall_ms", "energy_j"}, optional
        What of a round costs money; without it the first of GPU, CPU and wall time that all rounds
        have. Latency is wall time.
    level : float
        Confidence of a verdict, one-sided. The interval shown has 5 % beyond each end at 0.95, so it is
        what is usually called a 90 % interval.
    power : float
        Chance of success that ``n_needed`` gives.

    Returns
    -------
    polars.DataFrame
        `VERDICTS`: per model and variant a row for each part (``cost``, ``quality``, ``latency``) and
        workload or data set (``on``), then one ``overall``. ``estimate``, ``low``, ``high`` and
        ``limit`` are in ``measure``: ``saving_share`` (of total cost), ``quality_loss`` (positive is
        worse, whatever the metric's direction; ``relative_quality_loss`` is a share of the
        baseline's), ``latency_ratio``. ``n`` pairs were tested; ``n_needed`` would prove the claim if
        the truth is as estimated, ``n_needed_if_equal`` if the two do not differ (null: no number
        would, or none is needed). ``p_holm``: adjusted for all variants tested on the same part.
        ``why`` is a sentence. What could not be tested is NOT PROVEN, and ``why`` says so.

    Raises
    ------
    InputError
        No such baseline, workload, data set or metric; metrics of contradicting directions; rounds or
        items that do not pair one to one; a level outside 0.5 to 1.

    Notes
    -----
    PROVEN: the p-value, adjusted by Holm over the variants, is at most 1 - level. REFUTED: the variant's
    own interval lies wholly on the wrong side; not adjusted, since a variant wrongly sent home costs less
    than one wrongly shipped. Overall is REFUTED if any part is, and PROVEN if all parts hold at once: the
    largest p-value of its parts (R. L. Berger's intersection-union test), adjusted over the variants.

    Examples
    --------
    >>> from finops_lab.tradeoffs.measurement import OUTCOMES, Measurement
    >>> names = pl.DataFrame({"model": ["m", "m"], "variant": ["fp32", "int8"]})
    >>> answers = [("m", variant, "exam", "accuracy", item, float(item % 5 > 0 and item % 500 != wrong), True)
    ...     for variant, wrong in (("fp32", -1), ("int8", 1)) for item in range(4000)]
    >>> measured = Measurement(names, outcomes=pl.DataFrame(answers, schema=OUTCOMES, orient="row"))
    >>> table = verdicts(measured, Claim(max_quality_loss=0.005), baseline="fp32")
    >>> table.select("part", "verdict", "estimate", "n").row(0)
    ('quality', 'PROVEN', 0.002, 4000)
    >>> table.item(0, "why")
    'loses 0.002 (0.00113 to 0.00355): 4,000 items are enough; 0 gained, 8 lost, McNemar p = 0.0078'
    """
    if not 0.5 < level < 1 or not 0.5 <= power < 1:
        raise InputError(f"level and power lie between 0.5 and 1, not {level} and {power}")
    evidence = read_measurement(source) if isinstance(source, str | Path) else source
    if isinstance(evidence, pl.DataFrame | pl.LazyFrame):
        given = (as_points(evidence), pl.DataFrame(), pl.DataFrame())
    else:
        given = (getattr(evidence, "points", pl.DataFrame()), evidence.outcomes, evidence.timings)
    points, outcomes, timings = (
        rows if rows.is_empty() or model is None else rows.filter(model=model) for rows in given
    )
    pairs = candidates((points, outcomes, timings), baseline)
    if dataset is not None and outcomes.is_empty():
        raise InputError(f"no items of a data set {dataset!r}: nothing says which items were scored")
    coverage = 2 * level - 1
    trials: list[Trial] = []
    for part in claim.parts:
        if part == "quality" and not outcomes.is_empty():
            trials += items_tried(outcomes, claim, pairs, dataset=dataset, quality=quality, coverage=coverage)
        elif part != "quality" and not timings.is_empty():
            used = clock or getattr(evidence, "clock", None)
            trials += rounds_tried(
                timings, claim, part, pairs, workload=workload, clock=used, coverage=coverage
            )
        elif not points.is_empty():
            trials += points_tried(
                *(points, claim, part, pairs),
                baseline=baseline,
                workload=workload,
                quality=quality,
                coverage=coverage,
            )
        else:
            what = "items scored" if part == "quality" else "rounds timed"
            trials += [Trial(key, part, why=f"no {what}") for key in pairs]
    return _table(trials, claim, list(pairs), level, power)


def _table(trials: list[Trial], claim: Claim, keys: list[Key], level: float, power: float) -> pl.DataFrame:
    rows: dict[Key, list[dict[str, Any]]] = {key: [] for key in keys}
    families: dict[tuple[str, str | None], list[Trial]] = {}
    for trial in trials:
        families.setdefault((trial.part, trial.on), []).append(trial)
    for family in families.values():
        adjusted = holm([trial.finding.p_value if trial.finding else None for trial in family])
        tested = sum(trial.finding is not None for trial in family)
        for trial, one in zip(family, adjusted, strict=True):
            rows[trial.key].append(_row(trial, claim, level, power, tested, one))
    # A claim of many parts holds if its weakest part does, and that is adjusted over the variants.
    weakest = [
        None if any(row["p_value"] is None for row in rows[key]) else max(row["p_value"] for row in rows[key])
        for key in keys
    ]
    for key, p_value, one in zip(keys, weakest, holm(weakest), strict=True):
        rows[key].append(_overall(key, claim, rows[key], p_value, one and one.p_value, level))
    order = {part: at for at, part in enumerate((*MEASURES, "overall"))}
    return pl.DataFrame(
        [
            row
            for key in keys
            for row in sorted(rows[key], key=lambda row: (order[row["part"]], row["on"] or ""))
        ],
        schema=VERDICTS,
    )


def _row(
    trial: Trial, claim: Claim, level: float, power: float, tested: int, adjusted: Adjusted | None
) -> dict[str, Any]:
    part, finding = trial.part, trial.finding
    limit = {
        "cost": claim.min_saving_share,
        "quality": claim.max_quality_loss,
        "latency": claim.max_latency_ratio,
    }[part]
    row: dict[str, Any] = dict.fromkeys(VERDICTS) | {
        "model": trial.key[0],
        "variant": trial.key[1],
        "part": part,
        "on": trial.on,
        "claim": claimed(claim, part),
        "measure": ("relative_" if part == "quality" and claim.relative_loss else "") + MEASURES[part],
        "limit": limit,
    }
    if finding is None or limit is None or adjusted is None:
        known = {"estimate": trial.estimate, "n": trial.n, "n_needed": trial.needed}
        return row | known | {"verdict": "NOT PROVEN", "method": "not tested", "why": trial.why}
    low, high = finding.interval.low, finding.interval.high
    if adjusted.p_value <= 1 - level:
        verdict = "PROVEN"
    else:
        verdict = "REFUTED" if (high < limit if part == "cost" else low > limit) else "NOT PROVEN"
    need, equal = None, None
    if verdict == "NOT PROVEN":
        strict = 1 - (1 - level) / adjusted.tests
        need = finding.needed(level=strict, power=power)
        need = None if need is None else max(need, finding.n + 1)
        equal = finding.needed(level=strict, power=power, equal=True)
    alone = finding.p_value <= 1 - level
    said = because(claim, part, verdict, finding, alone=alone, tests=tested, need=need, need_if_equal=equal)
    return row | {
        "verdict": verdict,
        "estimate": finding.interval.estimate,
        # No bound is null.
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
        "n": finding.n,
        "n_needed": need,
        "n_needed_if_equal": equal,
        "p_value": finding.p_value,
        "p_holm": adjusted.p_value,
        "method": finding.method,
        "why": said + trial.why,
    }


def _overall(
    key: Key,
    claim: Claim,
    parts: list[dict[str, Any]],
    p_value: float | None,
    p_holm: float | None,
    level: float,
) -> dict[str, Any]:
    found = [row["verdict"] for row in parts]
    if "REFUTED" in found:
        verdict = "REFUTED"
    else:
        verdict = "PROVEN" if p_holm is not None and p_holm <= 1 - level else "NOT PROVEN"
    why = in_all([(row["part"], row["on"], row["verdict"]) for row in parts])
    if verdict == "NOT PROVEN" and set(found) == {"PROVEN"}:
        why += "; but not all at once for as many variants as were tested"
    return dict.fromkeys(VERDICTS) | {
        "model": key[0],
        "variant": key[1],
        "part": "overall",
        "claim": claimed(claim, "overall"),
        "verdict": verdict,
        "p_value": p_value,
        "p_holm": p_holm,
        "method": "all parts at once (intersection-union), Holm over variants",
        "why": why,
    }
