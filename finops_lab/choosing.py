"""Which variant a lab should run: its bill, telemetry and evaluations, chosen over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Unpack

import polars as pl

from finops_lab import allocation, bookkeeping, tradeoffs
from finops_lab.calendar import add_months, parse_month
from finops_lab.errors import InputError
from finops_lab.lab import Lab
from finops_lab.tradeoffs.decide import Limits
from finops_lab.tradeoffs.retirement import Retirement

__all__ = ["curve", "decide", "retire", "variants"]


def variants(
    lab: Lab,
    first: str | date,
    last: str | date | None = None,
    *,
    metric: str = "EffectiveCost",
    quality: str = "accuracy",
) -> pl.DataFrame:
    """Compare model variants over some months: see `finops_lab.tradeoffs.variants`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : str or datetime.date
        First and last month, such as ``2026-08``; both included. One month without `last`.
    metric : str
        The cost column to compare.
    quality : str
        The evaluations' metric.

    Returns
    -------
    polars.DataFrame
        As `finops_lab.tradeoffs.variants`.

    Raises
    ------
    InputError
        When a month, the cost column or the metric is none.
    """
    begin, end = _months(first, last)
    return tradeoffs.variants(
        _entries(lab),
        lab.table("inference_requests"),
        lab.table("accuracy_samples"),
        first=begin,
        last=end,
        metric=metric,
        quality=quality,
    )


def curve(
    lab: Lab,
    first: str | date,
    last: str | date | None = None,
    *,
    metric: str = "EffectiveCost",
    quality: str = "accuracy",
) -> tradeoffs.Curve:
    """Put a lab's variants side by side: see `finops_lab.tradeoffs.curve`.

    Parameters
    ----------
    lab, first, last, metric, quality
        As for `variants`.

    Returns
    -------
    finops_lab.tradeoffs.Curve
        The variants as points, and every metric of their newest evaluations.

    Raises
    ------
    InputError
        As `variants`.
    """
    found = tradeoffs.curve(variants(lab, first, last, metric=metric, quality=quality))
    before = add_months(_months(first, last)[1], 1)
    return tradeoffs.Curve(found.points, tradeoffs.qualities(lab.table("accuracy_samples"), before))


def decide(
    lab: Lab,
    first: str | date,
    last: str | date | None = None,
    *,
    model: str | Sequence[str] | None = None,
    metric: str = "EffectiveCost",
    quality: str = "accuracy",
    **limits: Unpack[Limits],
) -> tradeoffs.Decision:
    """Choose the variant of a model to run: see `finops_lab.tradeoffs.decide`.

    Parameters
    ----------
    lab, first, last, metric, quality
        As for `variants`.
    model : str or sequence of str, optional
        The model, or several that can do the same work. May be left out where there is only one.
    **limits
        As for `finops_lab.tradeoffs.decide`. ``monthly_inferences`` is the calls of the models'
        variants in the last month, unless it is given.

    Returns
    -------
    finops_lab.tradeoffs.Decision
        The choice.

    Raises
    ------
    InputError
        As `variants` and `finops_lab.tradeoffs.decide`, or when the lab runs several models and none
        is named.

    Examples
    --------
    >>> import finops_lab as fl
    >>> lab = fl.open_lab(progress=False)
    >>> found = decide(lab, "2026-08", "2026-10", model="larch-7b", max_quality_loss=0.01)
    >>> found.chosen["variant"], round(found.chosen["saving_share"], 2)
    ('int8', 0.31)
    """
    points = variants(lab, first, last, metric=metric, quality=quality)
    called = points.filter(pl.col("requests").is_not_null())
    models = called["model"].unique().sort().to_list()
    if model is None and len(models) > 1:
        raise InputError(
            "one choice is for one model, or for several that can do the same work",
            hint=f"model= one or a list of {', '.join(models)}",
        )
    wanted = models if model is None else [model] if isinstance(model, str) else list(model)
    calls = float(called.filter(pl.col("model").is_in(wanted))["last_successes"].sum())
    given: Limits = {"monthly_inferences": calls} if calls else {}
    return tradeoffs.decide(tradeoffs.curve(called), model=model, **(given | limits))


def retire(
    lab: Lab,
    month: str | date,
    *,
    over: int = 3,
    metric: str = "EffectiveCost",
    quality: str = "accuracy",
    migration_amount: Decimal | int | None = None,
    evaluation_amount: Decimal | int | None = None,
) -> Retirement:
    """List variants that live too long: see `finops_lab.tradeoffs.retire`.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        The last month, such as ``2026-10``; its money and calls are told.
    over : int
        Unit costs and latency are those of so many months up to it.
    metric, quality
        As for `variants`.
    migration_amount, evaluation_amount : Decimal or int, optional
        What bringing in a variant costs once, in the lab's currency.

    Returns
    -------
    finops_lab.tradeoffs.Retirement
        What is listed, and what is not for lack of evidence.

    Raises
    ------
    InputError
        As `variants`.
    """
    last, _ = _months(month, None)
    points = variants(lab, add_months(last, 1 - over), last, metric=metric, quality=quality)
    return tradeoffs.retire(
        points.filter(pl.col("requests").is_not_null()),
        migration_amount=migration_amount,
        evaluation_amount=evaluation_amount,
    )


def _months(first: str | date, last: str | date | None) -> tuple[date, date]:
    begin, end = (m if isinstance(m, date) else parse_month(m) for m in (first, last or first))
    return begin, end


def _entries(lab: Lab) -> pl.LazyFrame:
    """Return the ledger, converted where the lab has rates; months stay on disk where it has none."""
    if not lab.config.rates:
        return bookkeeping.scan(lab)
    done = bookkeeping.ledger(lab)
    return allocation.convert(done.entries, lab.config.rates, lab.currency).lazy()
