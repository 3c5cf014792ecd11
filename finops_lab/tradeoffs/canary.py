"""A canary judged: promote, hold or roll back, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.tradeoffs.betting import planned_bet
from finops_lab.tradeoffs.canary_verdict import alphas, verdict
from finops_lab.tradeoffs.checks import CHECKS, as_check, check, checks_of
from finops_lab.tradeoffs.guardrails import error_guard, latency_guard, least_calls
from finops_lab.tradeoffs.representative import DIMENSIONS, MIX, mix, reweighted
from finops_lab.tradeoffs.sequential import sequential
from finops_lab.tradeoffs.streams import alike, as_outcomes, blocked, paired
from finops_lab.wording import plural

__all__ = ["CanaryVerdict", "canary_check"]

_FINISHED = ("ok", "error", "timeout")
_PATH: dict[str, pl.DataType | type[pl.DataType]] = {
    "check": pl.String,
    "n": pl.Int64,
    **dict.fromkeys(("mean", "low", "high", "limit"), pl.Float64),
}


@dataclass(frozen=True)
class CanaryVerdict:
    """What to do with a canary, and the evidence.

    Attributes
    ----------
    verdict : str
        ``promote``, ``hold`` or ``roll back``.
    sentence : str
        The verdict and its reason.
    checks : polars.DataFrame
        `finops_lab.tradeoffs.checks.CHECKS`, one row per check.
    path : polars.DataFrame
        How the quality was known as items came in: ``check``, ``n``, ``mean``, ``low``, ``high``,
        ``limit``. Empty without outcomes by item.
    mix : polars.DataFrame
        `finops_lab.tradeoffs.representative.MIX`; empty without traffic.
    """

    verdict: str
    sentence: str
    checks: pl.DataFrame
    path: pl.DataFrame
    mix: pl.DataFrame


def canary_check(
    outcomes: pl.DataFrame | pl.LazyFrame | None = None,
    calls: pl.DataFrame | pl.LazyFrame | None = None,
    *,
    traffic: pl.DataFrame | pl.LazyFrame | None = None,
    baseline: str = "baseline",
    canary: str = "canary",
    margin: float = 0.01,
    higher_is_better: bool = True,
    discordance: float | None = None,
    max_p95_ms: float | None = None,
    p95_slack: float = 0.1,
    max_error_increase: float = 0.01,
    by: str | Sequence[str] = DIMENSIONS,
    unit: str | None = None,
    max_distance: float = 0.1,
    more: Sequence[pl.DataFrame] = (),
    alpha: float = 0.05,
    seed: int = 0,
) -> CanaryVerdict:
    """Judge a canary from outcomes by item, calls and other checks, as often as you like.

    Quality, latency and errors are tested by betting (`finops_lab.tradeoffs.sequential`): a bad canary is
    promoted with a chance of at most `alpha` and a good one rolled back with at most `alpha`, over all
    looks together.

    Parameters
    ----------
    outcomes : polars.DataFrame or polars.LazyFrame, optional
        Graded items: see `finops_lab.tradeoffs.streams.as_outcomes`. Items that both arms answered are
        compared pair by pair; where there are none, blocks of the same time (``ts``) are. Columns named in
        `by` let the loss be estimated for the traffic's mix.
    calls : polars.DataFrame or polars.LazyFrame, optional
        `inference_requests` of both arms at the same time, with ``arm``: ``ts_start``, ``status``,
        ``latency_ms``, and ``sample_weight`` and the dimensions where known.
    traffic : polars.DataFrame or polars.LazyFrame, optional
        Calls whose mix the canary's should have: see `finops_lab.tradeoffs.representative.mix`. Both
        from `finops_lab.tradeoffs.slicing.sliced`.
    baseline, canary : str
        Names of the arms, in `outcomes` and `calls`.
    margin : float
        Loss of quality that is too much: 0.01 is one percentage point.
    higher_is_better : bool
        Of the outcomes' value.
    discordance : float, optional
        Share of items on which the arms are planned to differ: the bet is set for it.
    max_p95_ms : float, optional
        Limit of the canary's P95 latency; by default the baseline's times 1 + `p95_slack`.
    p95_slack : float
        See there.
    max_error_increase : float
        Largest increase of the share of failed calls.
    by, unit, max_distance
        As in `finops_lab.tradeoffs.representative.mix`.
    more : sequence of polars.DataFrame
        Further checks, such as from `finops_lab.tradeoffs.evaluated.evaluated`.
    alpha : float
        See above.
    seed : int
        Order of items without a time, and which rows of unequal weight are kept.

    Returns
    -------
    CanaryVerdict

    Raises
    ------
    InputError
        When there is nothing to judge, or outcomes or calls are not as described.

    Examples
    --------
    >>> items = pl.DataFrame({"item": range(400), "bf16": [1, 1, 0, 1] * 100, "int8": [1, 0, 0, 0] * 100})
    >>> canary_check(items, baseline="bf16", canary="int8", margin=0.02).verdict
    'roll back'
    """
    by = each_name(by)
    if outcomes is None and calls is None and not more:
        raise InputError("there is nothing to judge a canary by", hint="give outcomes by item, or calls")
    if not 0 < margin < 1:
        raise InputError(f"the margin must be between 0 and 1, not {margin}")
    outcomes, calls, traffic = (
        None if given is None else given.lazy().collect() for given in (outcomes, calls, traffic)
    )
    share, others = alphas(alpha), sum(part.filter(pl.col("kind") == "quality").height for part in more)
    parts, path, found_mix = [], pl.DataFrame(schema=_PATH), pl.DataFrame(schema=MIX)
    long = None
    if outcomes is not None:
        long = as_outcomes(outcomes, baseline=baseline, canary=canary)
        quality, path = _quality(long, margin, higher_is_better, discordance, alphas(alpha, 1 + others), seed)
        parts.append(quality)
    parts += more
    if not any("quality" in set(part["kind"]) for part in parts):
        text = "no outcomes by item and no evaluations"
        parts.append(check("quality", "quality", "unknown", reason=text, limit=-margin))
    if calls is not None:
        parts += _guarded(calls, baseline, canary, max_p95_ms, p95_slack, max_error_increase, share, seed)
    if traffic is not None:
        seen = None if calls is None else calls.filter(pl.col("arm") == canary)
        seen = long.filter(arm="canary") if seen is None and long is not None else seen
        if seen is None:
            raise InputError("the canary's mix cannot be told without calls or outcomes")
        seen, traffic = alike(seen, seed=seed), alike(traffic, seed=seed)
        found_mix = mix(seen, traffic, by=by, unit=unit, max_distance=max_distance, alpha=alpha)
        parts += [_mix_check(row, max_distance) for row in found_mix.iter_rows(named=True)]
        off = found_mix.filter(pl.col("status") == "not representative")["dimension"].to_list()
        if long is not None:
            parts += [
                _estimate(long, traffic, name, margin, higher_is_better, seed)
                for name in off
                if name in long.columns
            ]
    checks = checks_of(parts).select(list(CHECKS))
    decided, sentence = verdict(checks, canary)
    return CanaryVerdict(decided, sentence, checks, path, found_mix)


def _quality(
    long: pl.DataFrame,
    margin: float,
    up: bool,
    discordance: float | None,
    share: tuple[float, float],
    seed: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    differences, how = _differences(long, up, seed)
    bet = None
    if discordance is not None:
        if not 0 < discordance <= 1:
            raise InputError(
                f"the share of items that differ must be above 0 and at most 1, not {discordance}"
            )
        bet = "above", planned_bet(margin, discordance, -margin, (-1.0, 1.0))
    found = sequential(differences, reference=-margin, alpha=share, planned=bet)
    new, old = (long.filter(arm=arm).select(pl.col("value").mean()).item() for arm in ("canary", "baseline"))
    reason = f"{how}; mean {new:.4g}, baseline {old:.4g}"
    done = as_check(found, good="above", name="quality", kind="quality", unit="difference", reason=reason)
    path = found.path.select(
        pl.lit("quality").alias("check"), "n", "mean", "low", "high", pl.lit(-margin).alias("limit")
    )
    return done, path.select(list(_PATH))


def _differences(long: pl.DataFrame, up: bool, seed: int) -> tuple[pl.Series, str]:
    pairs = paired(long, seed=seed)
    if pairs.height:
        how, found = f"{plural(pairs.height, 'item')} that both answered", pairs["difference"]
    elif "ts" in long.columns:
        found = blocked(long)["difference"]
        how = f"no item was answered by both: {found.len():,} blocks of the same time"
    else:
        raise InputError(
            "no item was answered by both arms, and items have no ts",
            column="item",
            hint="grade the same items in both arms, or give each the moment of its call as ts",
        )
    return (found if up else -found), how


def _guarded(
    calls: pl.DataFrame,
    baseline: str,
    canary: str,
    max_p95_ms: float | None,
    slack: float,
    max_increase: float,
    share: tuple[float, float],
    seed: int,
) -> list[pl.DataFrame]:
    """Return the checks of latency and errors."""
    arms = {baseline: "baseline", canary: "canary"}
    if lacking := [name for name in ("ts_start", "arm", "status", "latency_ms") if name not in calls.columns]:
        raise InputError(f"calls have no column {lacking[0]!r}", column=lacking[0])
    rows = calls.filter(pl.col("arm").is_in(list(arms)), pl.col("status").is_in(_FINISHED))
    keys = [name for name in ("request_id", "source_file", "source_row") if name in rows.columns]
    rows = rows.with_columns(pl.col("arm").replace_strict(arms, return_dtype=pl.String)).sort(
        "ts_start", "arm", *keys, "latency_ms", "status"
    )
    rows = alike(rows, seed=seed)
    good = rows.filter(pl.col("status") == "ok")
    of_arm = {arm: good.filter(arm=arm)["latency_ms"].drop_nulls() for arm in arms.values()}
    limit, of, usual = max_p95_ms, "", of_arm["baseline"]
    if limit is None and usual.len() >= least_calls(0.95):
        tail = float(usual.sort()[math.ceil(0.95 * usual.len()) - 1])
        limit, of = tail * (1 + slack), f"baseline's {tail:,.0f} ms of {usual.len():,} calls + {slack:.0%}"
    failed = (pl.col("status") != "ok").cast(pl.Float64)
    errors = rows.select(pl.col("ts_start").alias("ts"), "arm", failed.alias("value"))
    guards = [error_guard(errors, max_increase=max_increase, alpha=share[::-1])]
    if limit is None:
        text = f"{usual.len():,} calls of the baseline have a latency, its P95 takes {least_calls(0.95)}"
        return [check("P95 latency", "latency", "unknown", reason=text), *guards]
    return [latency_guard(of_arm["canary"], limit, alpha=share[::-1], of=of), *guards]


def _mix_check(row: dict[str, Any], max_distance: float) -> pl.DataFrame:
    status = "breached" if row["status"] == "not representative" else row["status"]
    return check(
        f"mix of {row['dimension']}",
        "mix",
        status,
        reason=row["reason"],
        value=row["distance"],
        limit=max_distance,
        unit="share of calls",
        n=row["n"],
        n_needed=row["n_needed"] if status == "unknown" else None,
    )


def _estimate(
    long: pl.DataFrame, traffic: pl.DataFrame, name: str, margin: float, up: bool, seed: int
) -> pl.DataFrame:
    """Estimate the loss of quality for the traffic's mix: it informs and decides nothing."""
    known = long.filter(arm="canary").select("item", name)
    pairs = paired(long, seed=seed).join(known, on="item", maintain_order="left")
    if not up:
        pairs = pairs.with_columns(-pl.col("difference"))
    row = reweighted(pairs, traffic, name).row(0, named=True)
    lacks = f"; not seen: {', '.join(row['missing'][:3])}" if row["missing"] else ""
    return check(
        f"quality reweighted by {name}",
        "estimate",
        "ok" if row["low"] is not None and row["low"] > -margin and not row["missing"] else "unknown",
        reason=f"as if the canary had the traffic's mix, for {row['covered']:.0%} of it{lacks}",
        required=False,
        value=row["reweighted"],
        low=row["low"],
        high=row["high"],
        limit=-margin,
        unit="difference",
        n=pairs.height,
    )
