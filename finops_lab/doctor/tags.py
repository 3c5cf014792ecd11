"""Do tags find their owner: spellings of keys and values, coverage, accounts and resources without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from finops_lab.config import normalise_tag_key
from finops_lab.doctor._model import Look, Tables, Told, check, total
from finops_lab.doctor._rows import EXAMPLE, examples
from finops_lab.doctor._words import amount, listed, place, share, shown, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_MANY_VALUES = 1000
_LITTLE = 0.01
_PROVIDER = ("ProviderName", "BillingCurrency")


def _distinct(tables: Tables) -> pl.LazyFrame:
    """Return every distinct Tags text per provider with rows and money: JSON is read once each."""
    return (
        tables.costs.filter(pl.col("Tags").is_not_null())
        .group_by(*_PROVIDER, "Tags")
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("BilledCost").abs().sum().alias("money"),
            *EXAMPLE,
        )
        .sort(*_PROVIDER, "Tags")
    )


def _pairs(text: str) -> list[tuple[str, Any]]:
    """Read the pairs of a Tags text as written, twice-written keys included."""
    text = text.strip()
    found: list[list[tuple[str, Any]]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(pairs)
        return dict(pairs)

    try:
        whole = json.loads(text if text.startswith("{") else "{" + text + "}", object_pairs_hook=keep)
    except (ValueError, RecursionError):
        return []
    # The outermost object is finished last.
    return found[-1] if isinstance(whole, dict) else []


def _spelled(found: pl.DataFrame) -> Iterator[tuple[dict[str, Any], list[tuple[str, Any]]]]:
    for row in found.iter_rows(named=True):
        yield row, _pairs(row["Tags"])


@check(
    "tag key variants",
    table="costs",
    severity="warning",
    meaning="One tag key in several spellings, such as Team, team and ' team': each alone misses rows.",
    fix="name the key in a rule of [[dimensions]] (keys are compared without case, blanks and separators), "
    "and enforce one spelling where resources are tagged",
)
def _tag_key_variants(tables: Tables) -> Look:
    found = yield _distinct(tables)
    keys: dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]] = {}
    for row, pairs in _spelled(found):
        for key in {key for key, _ in pairs}:
            group = (row["ProviderName"], row["BillingCurrency"], normalise_tag_key(key))
            keys.setdefault(group, {}).setdefault(key, []).append(row)
    told = []
    for (provider, currency, key), spellings in sorted(keys.items()):
        if len(spellings) < 2 or not key:
            continue
        counts = {spelling: sum(row["rows"] for row in rows) for spelling, rows in spellings.items()}
        usual, *others = sorted(counts, key=lambda s: (-counts[s], s))
        rare = [row for spelling in others for row in spellings[spelling]]
        said = [f"{shown(s)} {counts[s]:,}" for s in (usual, *others)]
        money = total(row["money"] for row in rare)
        told.append(
            Told(
                place(provider, "Tags", key),
                f"the key {key!r} is spelled in {len(counts)} ways: {listed(said)} rows; "
                f"{amount(money, currency)} stand under the rarer ones",
                sum(counts[s] for s in others),
                currency,
                money,
                examples(rare[0]),
            )
        )
    return told


@check(
    "tag key twice",
    table="costs",
    severity="warning",
    meaning="One row has a key twice, in the same or another spelling; readers keep one of the values.",
    fix="remove one of the keys from the resource; until then the last one wins",
)
def _tag_key_twice(tables: Tables) -> Look:
    found = yield _distinct(tables)
    told: dict[tuple[str, str, str], list[tuple[dict[str, Any], list[str]]]] = {}
    for row, pairs in _spelled(found):
        seen: dict[str, list[str]] = {}
        for key, _ in pairs:
            seen.setdefault(normalise_tag_key(key), []).append(key)
        for key, spellings in seen.items():
            if key and len(spellings) > 1:
                group = (row["ProviderName"], row["BillingCurrency"], key)
                told.setdefault(group, []).append((row, spellings))
    return [
        Told(
            place(provider, "Tags", key),
            f"{plural(sum(row['rows'] for row, _ in hits), 'row')} have the key {key!r} more than once: "
            f"{' and '.join(shown(s) for s in hits[0][1])}",
            sum(row["rows"] for row, _ in hits),
            currency,
            total(row["money"] for row, _ in hits),
            examples(hits[0][0]),
        )
        for (provider, currency, key), hits in sorted(told.items())
    ]


@check(
    "tag value variants",
    table="costs",
    severity="warning",
    meaning="An owner's name in several spellings (search, Search): it would appear as several owners.",
    fix="map the spellings to one with `map` in the rule of [[dimensions]]",
)
def _tag_value_variants(tables: Tables) -> Look:
    found = yield _distinct(tables)
    wanted = {normalise_tag_key(key) for key in tables.owner_tags}
    values: dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]] = {}
    for row, pairs in _spelled(found):
        for key, value in pairs:
            if normalise_tag_key(key) in wanted and isinstance(value, str) and value.strip():
                group = (row["BillingCurrency"], normalise_tag_key(key), normalise_tag_key(value))
                values.setdefault(group, {}).setdefault(value.strip(), []).append(row)
    if len(values) > _MANY_VALUES:
        return []
    told = []
    for (currency, key, _), spellings in sorted(values.items()):
        if len(spellings) < 2:
            continue
        counts = {spelling: sum(row["rows"] for row in rows) for spelling, rows in spellings.items()}
        usual, *others = sorted(counts, key=lambda s: (-counts[s], s))
        rare = [row for spelling in others for row in spellings[spelling]]
        told.append(
            Told(
                place("Tags", key),
                f"{key} is written {listed([f'{shown(s)} {counts[s]:,}' for s in (usual, *others)])} rows",
                sum(counts[s] for s in others),
                currency,
                total(row["money"] for row in rare),
                examples(rare[0]),
            )
        )
    return told


def _owner(tables: Tables) -> pl.Expr:
    """Return the text of the first owner tag that a row has, read off the tags as delivered."""
    schema = tables.costs.collect_schema()
    keys = [normalise_tag_key(key) for key in tables.owner_tags]
    known = [pl.col(f"x_tag_{key}") for key in keys if f"x_tag_{key}" in schema]
    # Without parsed columns: the key in any case, with blanks around it, and its text. Separators of a
    # normalised key stand for any.
    spelled = [
        pl.col("Tags").str.extract(
            rf'(?i)"\s*{key.replace("_", r"[^A-Za-z0-9]+")}\s*"\s*:\s*"\s*([^"]+?)\s*"', 1
        )
        for key in keys
        if key and f"x_tag_{key}" not in schema
    ]
    return pl.coalesce([*known, *spelled, pl.lit(None, dtype=pl.String)])


@check(
    "tag coverage",
    table="costs",
    severity="info",
    meaning="How much of the bill is tagged, by rows, by positive cost and by net cost: three answers.",
    fix="say which of the three figures you report; on net cost an untagged credit lifts coverage, even "
    "above 100 %",
)
def _tag_coverage(tables: Tables) -> Look:
    any_tag = pl.col("Tags").is_not_null() & ~pl.col("Tags").str.strip_chars().is_in(["", "{}", "[]"])
    parts = []
    for name, tagged in (("any tag", any_tag), ("owner", _owner(tables).is_not_null())):
        cost, mark = pl.col("BilledCost"), tagged.fill_null(False)
        positive = pl.when(cost > 0).then(cost)
        parts.append(
            tables.costs.with_columns(mark.alias("_tagged"))
            .group_by("BillingCurrency")
            .agg(
                pl.lit(name).first().alias("what"),
                pl.len().cast(pl.Int64).alias("rows"),
                pl.col("_tagged").sum().cast(pl.Int64).alias("tagged_rows"),
                positive.sum().alias("gross"),
                pl.when(pl.col("_tagged")).then(positive).sum().alias("tagged_gross"),
                cost.sum().alias("net"),
                pl.when(pl.col("_tagged")).then(cost).sum().alias("tagged_net"),
                cost.abs().sum().alias("absolute"),
                pl.when(pl.col("_tagged")).then(cost.abs()).sum().alias("tagged_absolute"),
            )
        )
    found = yield pl.concat(parts).sort("BillingCurrency", "what")
    told = []
    for row in found.iter_rows(named=True):
        if not row["tagged_rows"]:
            continue
        named = "any tag" if row["what"] == "any tag" else " or ".join(tables.owner_tags)
        over = row["net"] > 0 and row["tagged_net"] > row["net"]
        said = (
            f"{named}: {share(row['tagged_rows'], row['rows'])} of rows, "
            f"{share(row['tagged_gross'], row['gross'])} of positive cost, "
            f"{share(row['tagged_net'], row['net'])} of net cost, "
            f"{share(row['tagged_absolute'], row['absolute'])} of absolute cost"
        )
        said += "; net coverage is above 100 % since what is untagged is a net credit" if over else ""
        told.append(
            Told(
                place("Tags", named),
                said,
                row["rows"] - row["tagged_rows"],
                row["BillingCurrency"],
                row["gross"] - row["tagged_gross"],
                severity="warning" if over else None,
            )
        )
    return told


@check(
    "sub-account without owner",
    table="costs",
    severity="warning",
    meaning="A sub-account has no owner's tag on any row, while others of its provider have.",
    fix="tag its resources, or name its owner by a rule in [[dimensions.team]] (extract from SubAccountName), "
    "or split its cost by usage",
)
def _sub_account_without_owner(tables: Tables) -> Look:
    owner = _owner(tables).is_not_null()
    by = [*_PROVIDER, "BillingAccountId", "SubAccountId", "SubAccountName"]
    found = yield (
        tables.costs.filter(pl.col("ChargeCategory") == "Usage")
        .group_by(by)
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            owner.sum().cast(pl.Int64).alias("tagged"),
            pl.col("EffectiveCost").sum().alias("money"),
            pl.col("x_BillingMonth").min().alias("first"),
            pl.col("x_BillingMonth").max().alias("last"),
            *EXAMPLE,
        )
        .sort(by)
    )
    told = []
    for (provider, currency), rows in found.group_by(_PROVIDER, maintain_order=True):
        spend = total(rows["money"])
        if not rows["tagged"].sum():
            continue
        for row in rows.filter(pl.col("tagged") == 0).iter_rows(named=True):
            if row["money"] < 0 or float(row["money"]) < _LITTLE * float(spend):
                continue
            name = row["SubAccountName"] or row["SubAccountId"] or "no sub-account"
            told.append(
                Told(
                    place(provider, row["BillingAccountId"], name, span(row["first"], row["last"])),
                    f"{shown(name)} has no {' or '.join(tables.owner_tags)} tag on any of its "
                    f"{plural(row['rows'], 'Usage row')}: {amount(row['money'], str(currency))} effective "
                    f"cost, {share(row['money'], spend)} of the provider's usage",
                    row["rows"],
                    str(currency),
                    row["money"],
                    examples(row),
                )
            )
    return told


@check(
    "owner of a resource changed",
    table="costs",
    severity="warning",
    meaning="A resource carries another owner's tag from some day on: moved, or tagged by mistake.",
    fix="ask both owners; if the tag is wrong, name the resource in a rule of [[dimensions.team]] that comes "
    "before the tag",
)
def _owner_of_a_resource_changed(tables: Tables) -> Look:
    by = ["ProviderName", "BillingCurrency", "ResourceId", "ResourceName", "_owner"]
    found = yield (
        tables.costs.filter((pl.col("ChargeCategory") == "Usage") & pl.col("ResourceId").is_not_null())
        .with_columns(_owner(tables).str.to_lowercase().alias("_owner"))
        .filter(pl.col("_owner").is_not_null())
        .group_by(by)
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("EffectiveCost").sum().alias("money"),
            pl.col("ChargePeriodStart").min().dt.date().alias("from"),
            pl.col("ChargePeriodStart").max().dt.date().alias("to"),
            *EXAMPLE,
        )
        .filter(pl.len().over(by[:4]) > 1)
        .sort(*by[:4], "from", "_owner")
    )
    changed = found.group_by(by[:3]).agg(pl.col("from").max().alias("since"))
    # What the resource cost since then counts whole, rows that lost their tags too.
    spent = yield (
        tables.costs.filter(pl.col("ChargeCategory") == "Usage")
        .join(changed.lazy(), on=by[:3], nulls_equal=True)
        .filter(pl.col("ChargePeriodStart").dt.date() >= pl.col("since"))
        .group_by(by[:3])
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("EffectiveCost").sum().alias("money"))
    )
    cost = {row[:3]: row[3:] for row in spent.rows()}
    told = []
    for (provider, currency, resource, name), rows in found.group_by(by[:4], maintain_order=True):
        last, before = rows.row(-1, named=True), rows.row(-2, named=True)
        count, money = cost.get((provider, currency, resource), (last["rows"], last["money"]))
        beside = before["to"] >= last["from"]
        told.append(
            Told(
                place(provider, name or resource, last["from"]),
                f"{shown(name or resource)} is tagged {shown(last['_owner'])} since {last['from']} "
                f"({amount(money, str(currency))} effective cost since then), "
                f"{'and' if beside else 'before it was'} {shown(before['_owner'])} until {before['to']}",
                count,
                str(currency),
                money,
                examples(last),
            )
        )
    return told


CHECKS = (
    _tag_key_variants,
    _tag_key_twice,
    _tag_value_variants,
    _tag_coverage,
    _sub_account_without_owner,
    _owner_of_a_resource_changed,
)
