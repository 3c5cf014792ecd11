"""Is the top explanation right? Synthetic incidents whose guilty slice is known, seeds printed.

Every incident has a ledger of its own: a few hundred kinds of charges over eight dimensions that depend
on each other as real ones do (accounts belong to a team, features too, services to a provider), with
weekdays, growth and noise that goes day by day, leaf by leaf and team by team. What is planted is one
value of a dimension, a conjunction of two or three, two values of one dimension, a resource that is
new, or a fall; every charge of the slice gets its own factor around the planted one, by use or by price. An
answer is right when it holds just the charges that were touched: by whatever names, as names may be alike
in what they hold (an account with one resource), but not a charge more or less.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from _form import Figure

from finops_lab.anomalies.adtributor import slices
from finops_lab.anomalies.attribution import leaves
from finops_lab.anomalies.explain import Explanation, explain
from finops_lab.money import MONEY, exact_sum

SEED, CONFIRMED, INCIDENTS, QUICK = 20_000, 90_000, 200, 20
RIGHT = 0.95
_NAME = "anomaly_accuracy/explain"
KINDS = ("one", "one", "pair", "pair", "triple", "two", "new", "fall")
COLUMNS = {
    "provider": "ProviderName",
    "service": "ServiceName",
    "account": "SubAccountName",
    "team": "x_team",
    "feature": "x_feature",
    "environment": "x_environment",
    "region": "x_region",
    "model": "x_model",
    "resource": "ResourceName",
}
_HISTORY, _LEAST_LEAVES = 56, 2
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Incident:
    """A planted incident: ledger, event, and which of its charges are guilty."""

    kind: str
    said: str
    ledger: pl.DataFrame
    event: dict[str, Any]
    guilty: frozenset[str]  # names of resources, which tell all charges apart
    by: str  # what changed: use or price


def figures(quick: bool) -> list[Figure]:
    """Measure how often the top explanation is right, and whether all parts add up."""
    number = QUICK if quick else INCIDENTS
    print(f"incidents with seeds {SEED} and {CONFIRMED} on, {number} each")
    found = []
    for begin in (SEED, CONFIRMED):
        right = theirs = terms = off = 0
        seconds = 0.0
        for seed in range(begin, begin + number):
            one = incident(seed)
            start = time.process_time()
            told = explain(one.event, one.ledger)
            seconds += time.process_time() - start
            good = answer(told, one.ledger) == one.guilty
            if not good:
                print(f"  seed {seed}: {one.said}; told: {told.sentence}")
            right += good
            terms += top_term(told) == {"use": "volume", "price": "price", "new": "new"}[one.by]
            off += not adds_up(told)
            theirs += by_adtributor(one) == one.guilty
        found += [
            Figure(f"{_NAME}/top_explanation_right/seed_{begin}", right / number, "share", "higher", RIGHT),
            Figure(f"{_NAME}/volume_or_price_right/seed_{begin}", terms / number, "share", "higher", RIGHT),
            Figure(f"{_NAME}/incidents_that_do_not_add_up/seed_{begin}", off, "incidents", "lower", 0),
            Figure(
                f"{_NAME}/adtributor_alone_right/seed_{begin}",
                theirs / number,
                "share",
                "higher",
                peer="Adtributor",
            ),
            Figure(f"{_NAME}/explanation/seed_{begin}", 1000 * seconds / number, "CPU ms", "lower"),
        ]
    return found


def answer(told: Explanation, ledger: pl.DataFrame) -> frozenset[str]:
    """Return the charges of the top explanation, by what it says of itself: the steps of its path."""
    steps = told.path.filter("narrows")
    if told.found.filter(rank=1)["slice"].to_list() == [""]:  # the whole changed alike
        return frozenset(_in_scope(ledger, told.event)["ResourceName"])
    found: set[str] = set()
    for part in steps.partition_by("element"):
        rows = ledger
        for name, value in part.select("dimension", "value").iter_rows():
            rows = rows.filter(pl.col(COLUMNS[name]).eq_missing(pl.lit(value, pl.String)))
        found |= set(_in_scope(rows, told.event)["ResourceName"])
    return frozenset(found)


def _in_scope(rows: pl.DataFrame, event: Mapping[str, Any]) -> pl.DataFrame:
    if event["value"] is None:
        return rows
    return rows.filter(pl.col(COLUMNS[event["dimension"]]) == event["value"])


def top_term(told: Explanation) -> str:
    """Return the largest term of the bridge."""
    return str(told.bridge.sort(pl.col("amount").abs(), descending=True)["term"][0])


def adds_up(told: Explanation) -> bool:
    """Say whether the parts of every dimension, and the terms of the bridge, are the whole exactly."""
    wholes = {exact_sum(part["excess"].to_list()) for part in told.slices.partition_by("dimension")}
    top = told.found.filter(rank=1)
    part = exact_sum(top["excess"].to_list()) if top["share"].sum() >= 0.67 else told.excess
    rows = told.found.filter(pl.col("excess") != pl.col("actual") - pl.col("expected"))
    return wholes == {told.excess} and exact_sum(told.bridge["amount"].to_list()) == part and rows.is_empty()


def by_adtributor(one: Incident) -> frozenset[str]:
    """Return the charges of the dimension that Adtributor ranks first."""
    picked = slices(leaves(one.event, one.ledger), most=None).filter("picked")
    if picked.is_empty():
        return frozenset()
    best = (
        picked.group_by("dimension")
        .agg(pl.col("surprise").sum())
        .sort("surprise", "dimension")["dimension"][-1]
    )
    values = picked.filter(dimension=best)["value"]
    column = pl.col(COLUMNS.get(best, "SkuMeter"))
    rows = one.ledger.filter(
        column.is_in(values.drop_nulls().to_list()) | (column.is_null() & (values.null_count() > 0))
    )
    return frozenset(_in_scope(rows, one.event)["ResourceName"])


def incident(seed: int) -> Incident:
    """Return the incident of a seed; the draw is repeated until the whole shows it."""
    generator = np.random.default_rng(seed)
    while True:
        found = _drawn(generator)
        if found is not None:
            return found


def _drawn(generator: np.random.Generator) -> Incident | None:
    leaves = _leaves(generator)
    kind = str(generator.choice(KINDS))
    length = int(generator.choice([1, 2, 3, 5]))
    amounts = _amounts(leaves, _HISTORY + length, generator)
    weeks = amounts[:, :_HISTORY].reshape(leaves.height, 8, 7)[:, :, :length].sum(axis=2)
    scope_name = generator.choice(["total", "total", "provider", "team", "service"])
    scope, value = _scope(leaves, str(scope_name), generator)
    picked = _guilty(leaves, kind, scope, weeks.mean(axis=1), generator)
    if picked is None:
        return None
    said, guilty = picked
    expected = amounts[:, _HISTORY:].copy()
    if kind == "new":
        amounts[guilty, :_HISTORY] = weeks[guilty] = expected[guilty] = 0.0
        size = weeks[scope].mean(axis=1).sum() / length * generator.uniform(0.2, 1.0)
        amounts[guilty, _HISTORY:] = size * generator.lognormal(0, 0.05, length)
    else:
        factor = generator.uniform(0.05, 0.5) if kind == "fall" else generator.uniform(1.6, 6.0)
        each = factor * generator.lognormal(0, 0.2, int(guilty.sum()))
        amounts[guilty, _HISTORY:] *= each[:, None]
    # What is new is use; prices change by a slice as well.
    by = "new" if kind == "new" else str(generator.choice(["use", "use", "price"]))
    use = amounts.copy()
    if by == "price":
        use[:, _HISTORY:] = expected
    excess = abs((amounts[:, _HISTORY:] - expected).sum())
    history = weeks[scope].sum(axis=0)
    # A detector sees no less, and where nothing can be seen nothing can be explained.
    if excess < 3 * history.std(ddof=1) or excess < 0.05 * history.mean():
        return None
    begin = date(2026, 8, 1) + timedelta(days=int(generator.integers(7)) + _HISTORY)
    days = [begin + timedelta(days=n - _HISTORY) for n in range(amounts.shape[1])]
    event = {
        "metric": "EffectiveCost",
        "dimension": str(scope_name),
        "value": value,
        "first": days[_HISTORY],
        "last": days[-1],
        "grain": "day",
        "kind": "spend",
        "BillingCurrency": "USD",
    }
    names = leaves["ResourceName"].to_list()
    touched = frozenset(name for name, one in zip(names, guilty, strict=True) if one)
    said = f"{kind} {said}, by {by}, in {scope_name} {value or ''}".rstrip()
    return Incident(kind, said, _ledger(leaves, days, amounts, use), event, touched, by)


def _leaves(generator: np.random.Generator) -> pl.DataFrame:
    """Draw kinds of charges: what they are for and where, each once."""
    services = [("cloud-1", f"service-{n}") for n in range(4)]
    services += [("cloud-2", f"service-{n}") for n in range(4, 7)] + [("vendor", "models-api")]
    rows: dict[tuple[str, ...], None] = {}
    for _ in range(int(generator.integers(250, 600))):
        provider, service = services[generator.choice(8, p=_falling(8))]
        team = f"team-{generator.choice(6, p=_falling(6))}"
        feature = f"{team}-feature-{generator.integers(3)}"
        environment = str(generator.choice(["prod", "staging", "dev"], p=[0.6, 0.2, 0.2]))
        region = f"region-{generator.choice(4, p=_falling(4))}"
        model = (
            f"model-{generator.integers(5)}" if service in ("service-0", "service-4", "models-api") else ""
        )
        rows[provider, service, f"{team}-{environment}", team, feature, environment, region, model] = None
    names = [*list(COLUMNS.values())[:-1]]
    frame = pl.DataFrame(list(rows), schema=names, orient="row")
    return frame.with_columns(
        pl.col("x_model").replace("", None),
        pl.format("{}-{}-r{}", "x_feature", "x_environment", pl.int_range(pl.len())).alias("ResourceName"),
    )


def _falling(number: int) -> npt.NDArray[np.float64]:
    weights = 1 / np.arange(1, number + 1)
    return weights / weights.sum()


def _amounts(leaves: pl.DataFrame, days: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw what each charge costs each day: weekday, growth, and noise of leaf, team and whole."""
    number = leaves.height
    level = 20 * generator.lognormal(0, 1.1, number)
    weekday = 1 - np.where(np.arange(days) % 7 >= 5, generator.uniform(0, 0.5, (number, 1)), 0.0)
    growth = np.exp(generator.normal(0.001, 0.001, (number, 1)) * np.arange(days))
    own = generator.lognormal(0, generator.uniform(0.03, 0.25, (number, 1)), (number, days))
    teams = leaves["x_team"].rank("dense").to_numpy() - 1
    shared = generator.lognormal(0, 0.03, (6, days))[teams] * generator.lognormal(0, 0.02, days)
    return level[:, None] * weekday * growth * own * shared


def _scope(leaves: pl.DataFrame, name: str, generator: np.random.Generator) -> tuple[_Bools, str | None]:
    if name == "total":
        return np.ones(leaves.height, dtype=bool), None
    value = str(generator.choice(leaves[COLUMNS[name]].unique().sort().to_list()))
    return (leaves[COLUMNS[name]] == value).to_numpy(), value


def _guilty(
    leaves: pl.DataFrame,
    kind: str,
    scope: _Bools,
    expected: npt.NDArray[np.float64],
    generator: np.random.Generator,
) -> tuple[str, _Bools] | None:
    """Pick a slice of the scope: by a charge in it, so that there is one."""
    inside = np.flatnonzero(scope)
    row = leaves.row(int(generator.choice(inside)), named=True)
    number = {"pair": 2, "triple": 3, "fall": int(generator.integers(1, 3))}.get(kind, 1)
    names = (
        ["resource"] if kind == "new" else sorted(generator.choice(list(COLUMNS)[:-1], number, replace=False))
    )
    guilty = scope.copy()
    for name in names:
        guilty &= _is(leaves, name, row[COLUMNS[name]])
    said = " & ".join(f"{name}={row[COLUMNS[name]]}" for name in names)
    if kind == "two":
        other = leaves.row(int(generator.choice(inside)), named=True)[COLUMNS[names[0]]]
        if other == row[COLUMNS[names[0]]]:
            return None
        said += f" or {other}"
        guilty |= scope & _is(leaves, names[0], other)
    if kind != "new" and guilty.sum() < _LEAST_LEAVES:
        return None
    return (said, guilty) if _told_apart(leaves, scope, guilty, expected) else None


def _is(leaves: pl.DataFrame, name: str, value: str | None) -> _Bools:
    return np.array([one == value for one in leaves[COLUMNS[name]].to_list()])


def _told_apart(
    leaves: pl.DataFrame, scope: _Bools, guilty: _Bools, expected: npt.NDArray[np.float64]
) -> bool:
    """Say whether no simple slice holds nearly the same money: then no method could tell them apart."""
    whole = expected[guilty].sum()
    columns = list(COLUMNS.values())
    for names in [*([name] for name in columns), *map(list, combinations(columns[:-1], 2))]:
        keys = leaves.select(pl.struct(names).rank("dense")).to_series().to_numpy()
        both = np.bincount(keys[guilty], expected[guilty], minlength=keys.max() + 1)
        alone = np.bincount(keys[scope], expected[scope], minlength=keys.max() + 1)
        near = (np.minimum(both, whole) / np.maximum(alone + whole - both, 1e-9)) > 0.9
        same = np.isclose(alone, both) & np.isclose(both, whole)
        if (near & ~same).any():
            return False
    return True


def _ledger(
    leaves: pl.DataFrame,
    days: list[date],
    amounts: npt.NDArray[np.float64],
    use: npt.NDArray[np.float64],
) -> pl.DataFrame:
    at = np.repeat(np.arange(leaves.height), len(days))
    prices = 1.0 + leaves["ServiceName"].rank("dense").to_numpy()[:, None]
    return (
        leaves[at]
        .with_columns(
            pl.Series("x_ChargeDate", days * leaves.height),
            pl.Series("EffectiveCost", amounts.ravel().round(6)).cast(pl.Decimal(38, 6)).cast(MONEY),
            pl.Series("ConsumedQuantity", (use / prices).ravel().round(6))
            .cast(pl.Decimal(38, 6))
            .cast(MONEY),
            pl.lit("Hours").alias("ConsumedUnit"),
            pl.format("{} hours", "ServiceName").alias("SkuMeter"),
            pl.lit("USD").alias("BillingCurrency"),
            pl.lit("Usage").alias("ChargeCategory"),
        )
        .filter(pl.col("EffectiveCost") != 0)
    )


if __name__ == "__main__":
    for figure in figures(quick="--quick" in sys.argv):
        print(figure.record())
