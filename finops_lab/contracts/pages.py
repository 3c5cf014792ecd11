"""The documentation's pages of tables, written from the contracts.

Run ``python -m finops_lab.contracts.pages docs/tables``.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import dataframely as dy
import polars as pl

from finops_lab.contracts import TABLES, _wording

__all__ = ["main", "pages"]

_NOTE = "<!-- Written by `make docs` from finops_lab/contracts: change the class, not this page. -->\n"
_FOCUS = "[FOCUS](https://focus.finops.org/focus-specification/)"
_DTYPES: dict[type[pl.DataType], str] = {
    pl.Decimal: "exact decimal",
    pl.Datetime: "moment, UTC",
    pl.Date: "date",
    pl.String: "text",
    pl.Float64: "number",
    pl.Int64: "whole number",
    pl.Boolean: "true or false",
}
# Longest first: `_usd_per_hour` ends with no other.
_UNITS = {
    "_usd_per_gpu_hour": "USD per GPU hour",
    "_usd_per_hour": "USD per hour",
    "_usd_per_unit": "USD per unit",
    "_usd": "USD",
    "_tokens": "tokens",
    "_bytes": "bytes",
    "_days": "days",
    "_ms": "milliseconds",
    "_s": "seconds",
    "_w": "watts",
}
# What ingestion adds to every row.
_FILLED_IN = frozenset({"day", "source_file", "source_row", "x_BillingMonth", "x_SourceFile", "x_SourceRow"})
_INDEX = f"""\
{_NOTE}
# Tables

Every format becomes rows of these tables, whatever it calls its columns. A page says, column by
column, what stands there, what a row must have, and what sends it to quarantine. Read one with
`lab.table("costs")`.

{{rows}}

What goes for all of them:

- Unknown is null, never 0. Money is an exact decimal, moments are in UTC, units stand in names.
- A row without a *required* column, or with a value that is not allowed, goes to `quarantine/` with
  its reason and its money. A null is allowed in every other column.
- What is *filled in* (the day, the file, the row) comes from ingestion; no file needs to have it.
- A CSV or Parquet file in these very columns is read as it is
  ([formats](../formats.md#tables-in-the-librarys-own-columns)); one in other columns through
  [`[[columns]]`](../finops-toml.md#columns-files-in-columns-of-their-own). `ledger` is made by allocation;
  `budgets`, `slos` and `pools` stand in `finops.toml`.
"""


def pages() -> dict[str, str]:
    """Return the text of every page, by file name.

    Examples
    --------
    >>> sorted(pages())[:2]
    ['README.md', 'accuracy_samples.md']
    """
    written = {f"{name}.md": _page(name, schema) for name, schema in TABLES.items()}
    first = {name: _prose(schema).partition("\n\n")[0].rstrip(".") for name, schema in TABLES.items()}
    rows = [f"| [{name}]({name}.md) | {said} |" for name, said in first.items()]
    index = "\n".join(["| table | what is in it |", "|---|---|", *rows])
    return {"README.md": _INDEX.format(rows=index), **written}


def _page(name: str, schema: type[dy.Schema]) -> str:
    columns = schema.columns()
    parts = [_NOTE, f"# {name}\n", _prose(schema) + "\n"]
    head = ["| column | dtype | required | allowed | meaning |", "|---|---|---|---|---|"]
    parts.append("\n".join([*head, *(_row(key, column) for key, column in columns.items())]) + "\n")
    rules = [rule for rule in schema._validation_rules(with_cast=False) if "|" not in rule]
    if rules:
        parts.append("A row is also rejected for, in the words of quarantine:\n")
        parts.append("\n".join(f"- {_wording(rule)}" for rule in rules) + "\n")
    parts.append("[All tables](README.md)\n")
    return "\n".join(parts)


def _prose(schema: type[dy.Schema]) -> str:
    return (inspect.getdoc(schema) or "").replace("``", "`").strip()


def _row(name: str, column: dy.Column) -> str:
    kind = _DTYPES[column.dtype.base_type()]
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
    cells = [
        f"`{name}`",
        f"{kind}, {unit}" if unit else kind,
        "" if column.nullable else "filled in" if name in _FILLED_IN else "yes",
        _allowed(column),
        column.description or _FOCUS,
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _allowed(column: dy.Column) -> str:
    """Say which values a column takes, as far as the contract limits them."""
    if column.metadata:
        return ", ".join(f"`{value}`" for value in column.metadata["allowed"])
    if pattern := getattr(column, "regex", None):
        return f"`{pattern}`"
    least, above = getattr(column, "min", None), getattr(column, "min_exclusive", None)
    most, below = getattr(column, "max", None), getattr(column, "max_exclusive", None)
    said = []
    if least is not None:
        said.append(f"{least} to {most}" if most is not None else f"{least} or more")
    elif above is not None:
        said.append(f"above {above}")
    if below is not None:
        said.append(f"below {below}")
    return ", ".join(said)


def main(target: str) -> None:
    """Write every page below a folder, and remove pages of tables that are gone.

    Parameters
    ----------
    target : str
        The folder, such as ``docs/tables``.
    """
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for path in folder.glob("*.md"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
