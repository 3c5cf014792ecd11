"""A lab's canaries: planned from its traffic, judged by its calls, evaluations and promises."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from finops_lab.errors import InputError, NoDataError
from finops_lab.lab import Lab
from finops_lab.measuring import requests_of
from finops_lab.service_levels.burn import WORKBOOK, burn_series
from finops_lab.service_levels.events import BY_CALL, events
from finops_lab.service_levels.promises import COLUMN, promised
from finops_lab.tradeoffs.canary import CanaryVerdict, canary_check
from finops_lab.tradeoffs.canary_plan import CanaryPlan, canary_plan
from finops_lab.tradeoffs.canary_verdict import alphas
from finops_lab.tradeoffs.checks import check
from finops_lab.tradeoffs.evaluated import evaluated
from finops_lab.tradeoffs.guardrails import burn_guard
from finops_lab.tradeoffs.slicing import sliced
from finops_lab.tradeoffs.streams import alike

__all__ = ["canary_of", "plan_of"]

_TRAFFIC_DAYS = 28
_PAGES = [window for window in WORKBOOK if window.severity == "page"]


def canary_of(
    lab: Lab,
    *,
    model: str,
    baseline: str,
    canary: str,
    since: str | date | datetime | None = None,
    until: str | date | datetime | None = None,
    feature: str | None = None,
    outcomes: pl.DataFrame | None = None,
    metric: str = "accuracy",
    margin: float = 0.01,
    alpha: float = 0.05,
    **options: Any,
) -> CanaryVerdict:
    """Judge a canary of a lab: its quality, P95 latency, errors, error budgets and traffic mix.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    model : str
        The model.
    baseline, canary : str
        Its variants to compare.
    since : str, datetime.date or datetime.datetime, optional
        When the canary began (UTC), such as ``2026-10-05`` or ``2026-10-05T09:00``. By default the model's
        newest deployment that did not fail, of the feature where one is named.
    until : str, datetime.date or datetime.datetime, optional
        Calls before this moment count; by default all that the lab has.
    feature : str, optional
        Only its calls, and its promises (``[[slos]]`` about calls).
    outcomes : polars.DataFrame, optional
        Graded items, as in `finops_lab.tradeoffs.canary.canary_check`. They decide on quality then, and
        evaluations can only breach.
    metric, margin
        Of the evaluations: as in `finops_lab.tradeoffs.evaluated.evaluated`.
    alpha : float
        Chance of promoting wrongly, and of rolling back wrongly.
    **options
        Others of `finops_lab.tradeoffs.canary.canary_check`.

    Returns
    -------
    CanaryVerdict
        The mix is compared with all of the model's calls (of the feature) of 28 days, or of the canary's
        time where that is longer.

    Raises
    ------
    NoDataError
        When an arm has no calls in that time.
    InputError
        When a moment cannot be read, or there is no deployment to begin with.
    """
    calls = _calls(lab, model, feature)
    end = _until(calls, until)
    begin = _deployed(lab, model, feature, end) if since is None else _moment(since)
    if begin >= end:
        raise InputError(
            f"the canary begins at {begin:%Y-%m-%d %H:%M}, and calls end at {end:%Y-%m-%d %H:%M}"
        )
    far = min(begin, end - timedelta(days=_TRAFFIC_DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    whole = sliced(calls.filter(pl.col("ts_start").is_between(far, end, closed="left")))
    now = whole.filter(pl.col("ts_start") >= begin, pl.col("variant").is_in([baseline, canary]))
    now = now.with_columns(pl.col("variant").alias("arm"))
    for arm in (baseline, canary):
        if arm not in set(now["arm"]):
            known = ", ".join(sorted(set(whole["variant"].drop_nulls())))
            raise NoDataError(
                f"{model} has no calls of the variant {arm!r} from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}",
                hint=f"variants with calls: {known}" if known else None,
            )
    samples = lab.table("accuracy_samples")
    sets = samples.filter(pl.col("model") == model, pl.col("metric") == metric).select("dataset").unique()
    rows = 2 * sets.collect().height + (outcomes is not None)
    quality = evaluated(
        samples,
        model=model,
        baseline=baseline,
        canary=canary,
        since=begin,
        until=end,
        metric=metric,
        margin=margin,
        alpha=alphas(alpha, rows),
        required=outcomes is None,
    )
    mine = now.filter(pl.col("variant") == canary)
    more = [quality, *_burns(lab, mine, model, feature, begin, end, alpha)]
    if "session_id" in whole.columns and whole["session_id"].null_count() < whole.height:
        options = {"unit": "session_id"} | options
    return canary_check(
        outcomes,
        now,
        traffic=whole,
        baseline=baseline,
        canary=canary,
        margin=margin,
        more=more,
        alpha=alpha,
        **options,
    )


def plan_of(
    lab: Lab,
    *,
    model: str,
    feature: str | None = None,
    until: str | date | datetime | None = None,
    days: int = _TRAFFIC_DAYS,
    **options: Any,
) -> CanaryPlan:
    """Plan a canary of a lab's model from the calls that it gets.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    model : str
        The model.
    feature : str, optional
        Only its calls.
    until : str, datetime.date or datetime.datetime, optional
        Calls before this moment count; by default all that the lab has, up to its last whole day.
    days : int
        How many days before that to look at.
    **options
        Others of `finops_lab.tradeoffs.canary_plan.canary_plan`.

    Returns
    -------
    CanaryPlan

    Raises
    ------
    NoDataError
        When the model has no calls in that time.
    InputError
        When a moment cannot be read.
    """
    if days < 1:
        raise InputError(f"a plan needs a day of calls at least, not {days}")
    calls = _calls(lab, model, feature)
    end = _until(calls, until).replace(hour=0, minute=0, second=0, microsecond=0)
    if until is None:
        end += timedelta(days=1)  # the day of the last call counts as whole
    seen = calls.filter(pl.col("ts_start").is_between(end - timedelta(days=days), end, closed="left"))
    return canary_plan(sliced(seen), days=days, **options)


def _calls(lab: Lab, model: str, feature: str | None) -> pl.DataFrame:
    rows = requests_of(lab).filter(pl.col("model") == model)
    if feature is not None:
        rows = rows.filter(pl.col("feature") == feature)
    found = rows.collect()
    if found.is_empty():
        of = f" of the feature {feature!r}" if feature is not None else ""
        models = requests_of(lab).select(pl.col("model").unique().sort()).collect()["model"].to_list()
        raise NoDataError(f"{model!r} has no calls{of}", hint=f"models with calls: {', '.join(models)}")
    return found.sort("ts_start", "source_file", "source_row")


def _until(calls: pl.DataFrame, until: str | date | datetime | None) -> datetime:
    if until is not None:
        return _moment(until)
    last = calls["ts_start"].max()
    assert isinstance(last, datetime)
    return last + timedelta(microseconds=1)


def _moment(said: str | date | datetime) -> datetime:
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else said
    except ValueError:
        raise InputError(f"a moment is written like 2026-10-05 or 2026-10-05T09:00, not {said!r}") from None
    if not isinstance(at, datetime):
        at = datetime.combine(at, datetime.min.time())
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _deployed(lab: Lab, model: str, feature: str | None, end: datetime) -> datetime:
    """Return when the model was deployed last."""
    rows = lab.table("deploys").filter(
        pl.col("model") == model,
        pl.col("kind") == "deploy",
        ~(pl.col("status") == "failed").fill_null(False),
        pl.col("ts") < end,
    )
    if feature is not None:
        rows = rows.filter(pl.col("service") == feature)
    at = rows.select(pl.col("ts").max()).collect().item()
    if at is None:
        raise InputError(f"the lab knows no deployment of {model}", hint="say since when the canary runs")
    assert isinstance(at, datetime)
    return at


def _burns(
    lab: Lab,
    mine: pl.DataFrame,
    model: str,
    feature: str | None,
    begin: datetime,
    end: datetime,
    alpha: float,
) -> list[pl.DataFrame]:
    """Return a check for every promise about calls of the feature, or of the model itself."""
    slos = promised(lab.slos()).filter(pl.col("objective").is_in(BY_CALL))
    about = (pl.col("dimension") == "model") & (pl.col("service") == model)
    if feature is not None:
        about |= (pl.col("dimension") == "feature") & (pl.col("service") == feature)
    slos = slos.filter(about)
    if slos.is_empty():
        why = "no promise about calls of it" if feature else "promises are about features: name one"
        return [check("burn rate", "burn", "unknown", reason=why, required=False)]
    known, share = events(mine, slos.drop("slo")), alphas(alpha, slos.height)[::-1]
    burns = burn_series(known, slos.drop("slo"), begin, end, windows=_PAGES)
    found = []
    for promise in slos.iter_rows(named=True):
        good = mine.filter(pl.col(COLUMN[promise["dimension"]]) == promise["service"])
        good = alike(good.filter(~(pl.col("service_tier") == "batch").fill_null(False)))
        found.append(
            burn_guard(
                burns.filter(pl.col("slo") == promise["slo"]),
                _failed(good, promise),
                promise["target"],
                slo=promise["slo"],
                alpha=share,
            )
        )
    return found


def _failed(calls: pl.DataFrame, promise: dict[str, Any]) -> pl.Series:
    """Return 1 for bad events of a promise and 0 for good ones, as `service_levels.events` counts them."""
    if promise["objective"] == "latency":
        bad = pl.col("latency_ms") > promise["threshold_ms"]
        calls = calls.filter(pl.col("status") == "ok")
    else:
        bad = pl.col("status") != "ok"
        calls = calls.filter(pl.col("status").is_in(["ok", "error", "timeout"]))
    return calls.select(bad.cast(pl.Float64)).to_series()
