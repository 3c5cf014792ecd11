"""Tags, cost categories and products of an AWS report: many columns, or maps in one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from finops_lab.ingestion._json import compact, decode, text

__all__ = ["PRODUCT_KEYS", "labels", "product", "tag_key"]

PRODUCT_KEYS = ("product_name", "servicename", "servicecode", "model", "region", "location")

_PREFIX = re.compile(r"^(?:resource_?tags?/)?(user|aws)[:_]", re.IGNORECASE)
_FAMILY = re.compile(r"^(?:resource_?tags|cost_?category)[/_]", re.IGNORECASE)


def tag_key(name: str) -> str:
    """Return the key of a tag as its owner wrote it; AWS's own keep ``aws:``.

    Examples
    --------
    >>> tag_key("resourceTags/user:team"), tag_key("resource_tags_user_team"), tag_key("user_team")
    ('team', 'team', 'team')
    >>> tag_key("resourceTags/aws:createdBy"), tag_key("iamPrincipal/team"), tag_key("costCategory/Line")
    ('aws:createdBy', 'iamPrincipal/team', 'Line')
    """
    name = _FAMILY.sub("", name.strip())
    found = _PREFIX.match(name)
    if found is None:
        return name
    return f"aws:{name[found.end() :]}" if found[1].lower() == "aws" else name[found.end() :]


def labels(columns: Mapping[str, str], maps: Sequence[str]) -> pl.Expr:
    """Return the labels of a row as JSON text, null where there are none.

    Parameters
    ----------
    columns : mapping
        Columns that hold one label each, and their keys.
    maps : sequence of str
        Text columns that hold JSON maps. What is no JSON is returned as it stands.
    """
    keys = [*columns.values(), *([None] * len(maps))]

    def read(encoded: str) -> str | None:
        found: dict[str, Any] = {}
        for key, value in zip(keys, decode(encoded).values(), strict=True):
            if value is None or not value.strip():
                continue
            if key is not None:
                found[key] = value
                continue
            pairs = _pairs(value)
            if pairs is None:
                return str(value)
            found |= {tag_key(name): inner for name, inner in pairs.items() if inner not in (None, "")}
        return compact(found) if found else None

    names = [*columns, *maps]
    row = pl.struct(pl.col(name).cast(pl.String).alias(str(n)) for n, name in enumerate(names))
    return _distinct(row.struct.json_encode(), read)


def product(column: str | None) -> pl.Expr:
    """Return `PRODUCT_KEYS` of a map of product attributes, as a struct of text."""
    fields = {key: pl.String() for key in PRODUCT_KEYS}
    if column is None:
        return pl.struct(pl.lit(None, dtype=pl.String).alias(key) for key in fields)

    def read(encoded: str) -> dict[str, str | None]:
        pairs = _pairs(encoded) or {}
        return {key: text(pairs.get(key)) for key in fields}

    def look_up(values: pl.Series) -> pl.Series:
        known = {value: read(value) for value in values.drop_nulls().unique().to_list()}
        empty: dict[str, str | None] = dict.fromkeys(fields)
        return pl.Series(values.name, [known.get(v, empty) for v in values], dtype=pl.Struct(fields))

    encoded = pl.col(column).cast(pl.String)
    return encoded.map_batches(look_up, return_dtype=pl.Struct(fields), is_elementwise=True)


def _distinct(column: pl.Expr, read: Callable[[str], str | None]) -> pl.Expr:
    """Apply a function once per distinct text: a bill repeats its labels in most rows."""

    def look_up(values: pl.Series) -> pl.Series:
        known = {value: read(value) for value in values.drop_nulls().unique().to_list()}
        return pl.Series(values.name, [known.get(v) for v in values], dtype=pl.String)

    return column.map_batches(look_up, return_dtype=pl.String, is_elementwise=True)


def _pairs(value: str) -> dict[str, Any] | None:
    """Read a map: a JSON object, or a list of pairs; None when it is neither."""
    try:
        found = decode(value)
    except ValueError:
        return None
    if isinstance(found, dict):
        return found
    if isinstance(found, list) and all(isinstance(p, dict) and {"key", "value"} <= p.keys() for p in found):
        return {str(pair["key"]): pair["value"] for pair in found}
    return None
