"""`finops.toml` written from its model: reading what is written gives the same model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel

from finops_lab.calendar import format_month
from finops_lab.config import Config
from finops_lab.config._base import Month

__all__ = ["written", "written_tables"]


def written(config: Config) -> str:
    """Write a configuration as TOML; what equals a default is left out.

    Parameters
    ----------
    config : Config
        The whole of a `finops.toml`.

    Returns
    -------
    str
        TOML 1.0.

    Examples
    --------
    >>> print(written(Config.model_validate({"lab": {"name": "Mine"}, "rates": [
    ...     {"month": "2026-10", "from": "EUR", "to": "USD", "rate": "1.0832"}]})))
    [lab]
    name = "Mine"
    <BLANKLINE>
    [[rates]]
    month = "2026-10"
    from = "EUR"
    to = "USD"
    rate = "1.0832"
    <BLANKLINE>
    """
    lines: list[str] = []
    for key, value in _plain(config).items():
        _section(lines, key, value)
    return "\n".join(lines).lstrip("\n") + "\n"


def written_tables(path: str, models: Sequence[BaseModel]) -> str:
    """Write models as an array of tables, to stand at the end of a TOML file."""
    lines: list[str] = []
    if models:
        _section(lines, path, [_plain(model) for model in models])
    return "".join(f"{line}\n" for line in lines)


def _section(lines: list[str], path: str, value: Any) -> None:
    tables = value if _is_tables(value) else [value]
    header = f"[[{path}]]" if _is_tables(value) else f"[{path}]"
    for table in tables:
        below = {key: inner for key, inner in table.items() if _is_tables(inner)}
        here = {key: inner for key, inner in table.items() if key not in below}
        if here or not below:
            lines += ["", header, *(f"{_key(key)} = {_inline(inner)}" for key, inner in here.items())]
        for key, inner in below.items():
            _section(lines, f"{path}.{_key(key)}", inner)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _plain(model: BaseModel) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if not field.is_required() and value == field.get_default(call_default_factory=True):
            continue
        said = field.rebuild_annotation()
        # A month and a day are the same type in the model, and two spellings in the file.
        if isinstance(value, date) and (said == Month or Month in get_args(said)):
            value = format_month(value)
        found[field.alias or name] = _value(value)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value)
    if isinstance(value, Mapping):
        return {str(key): _value(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_value(inner) for inner in value]
    return format(value, "f") if isinstance(value, Decimal) else value


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {_inline(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_inline(inner) for inner in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's; only DEL must be escaped in the one and not in the other.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return value.isoformat() if isinstance(value, date) else repr(value)


def _key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if bare else _inline(key)
