"""Results of a notebook run, kept in the notebook itself: written in a cell, read back from the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.errors import InputError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["RESULT_MIME", "record", "results"]

RESULT_MIME = "application/vnd.finops-lab.result+json"


def record(**values: object) -> None:
    """Keep named values in the output of the running cell.

    Parameters
    ----------
    **values
        Text, numbers, booleans, None, dates and decimals (kept as text, so exactly), lists and
        mappings of those, and polars frames (a list of rows).

    Raises
    ------
    InputError
        When a value is of another type, or a float is NaN or infinite.

    Examples
    --------
    >>> record(month=date(2026, 10, 1), spend=Decimal("412345.67"))  # doctest: +SKIP
    """
    from IPython.display import display

    plain = {name: _plain(value, name) for name, value in values.items()}
    # Without plain text beside it: JupyterLab would print that below every section.
    display({RESULT_MIME: plain}, raw=True)


def results(nb: NotebookNode) -> dict[str, Any]:
    """Return everything the notebook recorded; a name recorded twice has its last value.

    Parameters
    ----------
    nb : nbformat.NotebookNode
        An executed notebook.

    Returns
    -------
    dict
        Values by name, as JSON holds them: decimals and dates are text.

    Examples
    --------
    >>> import nbformat.v4 as v4
    >>> shown = v4.new_output("display_data", data={RESULT_MIME: {"spend": "412345.67"}})
    >>> results(v4.new_notebook(cells=[v4.new_code_cell(outputs=[shown])]))
    {'spend': '412345.67'}
    """
    found: dict[str, Any] = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            found |= output.get("data", {}).get(RESULT_MIME, {})
    return found


def _plain(value: object, name: str) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{name}: {value} cannot be recorded", hint="record None for an unknown value")
        return value
    if isinstance(value, Decimal):
        return _digits(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, pl.DataFrame):
        return _plain(value.to_dicts(), name)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    raise InputError(f"{name}: a {type(value).__name__} cannot be recorded")


def _digits(amount: Decimal) -> str:
    """Write every digit but idle zeros, so that the text does not depend on a column's scale."""
    text = format(amount, "f")
    short = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if short == "-0" else short
