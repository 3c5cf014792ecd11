"""Tags as exports spell them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from finops_lab.config import normalise_tag_key
from finops_lab.ingestion._scan import as_text

__all__ = ["tag_columns", "tags_as_json", "tags_readable"]


def tags_as_json(dtype: pl.DataType) -> pl.Expr:
    """Return the Tags column as JSON text, whatever a Parquet file holds it as."""
    tags = pl.col("Tags")
    pairs = isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct)
    keyed = pairs and {"key", "value"} <= {field.name for field in dtype.inner.fields}  # type: ignore[attr-defined]
    if not (keyed or isinstance(dtype, pl.Struct)):
        return as_text(tags, dtype)

    def encode(values: pl.Series) -> pl.Series:
        texts = [
            None if v is None else json.dumps(_pairs(v), ensure_ascii=False, default=str) for v in values
        ]
        return pl.Series(values.name, texts, dtype=pl.String)

    return tags.map_batches(encode, return_dtype=pl.String, is_elementwise=True)


def _pairs(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for k, v in value.items() if v is not None}
    return {str(pair["key"]): pair["value"] for pair in value if pair is not None}


def _tags(text: str | None) -> dict[str, str] | None:
    """Read one Tags value; the last of two equal keys wins. None when it is no JSON object."""
    if text is None:
        return {}
    text = text.strip()
    try:
        found = json.loads(text if text.startswith("{") else "{" + text + "}")
    except (ValueError, RecursionError):  # no JSON, or a bomb: thousands of digits or levels
        return None
    if not isinstance(found, dict):
        return None
    tags: dict[str, str] = {}
    for key, value in found.items():
        if value is not None and (spelled := _tag_text(value)):
            tags[normalise_tag_key(key)] = spelled
    return tags


def _tag_text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    # JSON can escape half a surrogate pair, which is no text.
    return text.encode("utf-8", "replace").decode().strip()


def tag_columns(keys: Sequence[str]) -> pl.Expr:
    """Return a struct with one text field ``x_tag_<key>`` per normalised tag key.

    Keys are compared without case, blanks and separators; of two equal keys the last wins, as in
    DuckDB and `json_path_match`. A tag without a value is null.

    Examples
    --------
    >>> df = pl.DataFrame({"Tags": ['{"Team":"search", " team":"ads"}', "not json", None]})
    >>> df.select(tag_columns(["team"]).alias("t")).unnest("t")["x_tag_team"].to_list()
    ['ads', None, None]
    """
    fields = {f"x_tag_{key}": pl.String() for key in keys}

    def parse(texts: pl.Series) -> pl.Series:
        distinct = texts.unique()
        parsed = [_tags(t) or {} for t in distinct.to_list()]
        table = pl.DataFrame(
            {"text": distinct, **{name: [p.get(name[6:]) for p in parsed] for name in fields}},
            schema={"text": pl.String, **fields},
        )
        joined = (
            texts.alias("text")
            .to_frame()
            .join(table, on="text", how="left", maintain_order="left", nulls_equal=True)
        )
        return joined.select(pl.struct(list(fields)).alias(texts.name)).to_series()

    return pl.col("Tags").map_batches(parse, return_dtype=pl.Struct(fields), is_elementwise=True)


def tags_readable() -> pl.Expr:
    """Tell which Tags values are JSON objects (null and blank count as empty)."""

    def check(texts: pl.Series) -> pl.Series:
        distinct = texts.unique()
        table = pl.DataFrame(
            {"text": distinct, "good": [_tags(t) is not None for t in distinct.to_list()]},
            schema={"text": pl.String, "good": pl.Boolean},
        )
        joined = (
            texts.alias("text")
            .to_frame()
            .join(table, on="text", how="left", maintain_order="left", nulls_equal=True)
        )
        return joined["good"].alias(texts.name)

    return pl.col("Tags").map_batches(check, return_dtype=pl.Boolean, is_elementwise=True)
