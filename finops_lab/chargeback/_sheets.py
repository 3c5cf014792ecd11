"""Names and texts that a workbook can hold: sheet names that Excel accepts, cells that do not run."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["cell_text", "quoted", "sheet_names"]

_LONGEST = 31  # of a sheet's name, in UTF-16 units
_CELL = 32_767  # of a cell's text, in UTF-16 units
_RESERVED = ("Summary", "History")  # ours; Excel's own, for its list of changes
_FORBIDDEN = re.compile(r"[\[\]:*?/\\]")
# Characters that XML 1.0 cannot carry.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def sheet_names(titles: Iterable[str]) -> dict[str, str]:
    r"""Give each title a sheet name that Excel accepts, no two alike whatever their case.

    Parameters
    ----------
    titles : iterable of str
        Distinct titles; the earlier one keeps its name in a clash.

    Returns
    -------
    dict of str to str
        At most 31 UTF-16 units, without ``[ ] : * ? / \`` and control characters, no apostrophe at
        either end, never ``Summary`` or ``History``.

    Examples
    --------
    >>> sheet_names(["a/b", "A-B", "history"])
    {'a/b': 'a-b', 'A-B': 'A-B (2)', 'history': 'history (2)'}
    """
    taken = {_key(name) for name in _RESERVED}
    names: dict[str, str] = {}
    for title in titles:
        text = "".join(c if c.isprintable() else " " for c in _FORBIDDEN.sub("-", title))
        # "SORT(x)" in a reference makes writers and readers think of the function.
        text = re.sub(r"(?<=\S)\(", " (", text)
        base = name = _cut(text, _LONGEST) or "team"
        number = 2
        while _key(name) in taken:
            mark = f" ({number})"
            name = _cut(base, _LONGEST - len(mark)) + mark
            number += 1
        taken.add(_key(name))
        names[title] = name
    return names


def _cut(text: str, longest: int) -> str:
    text = text.strip(" '")
    while _units(text) > longest:
        text = text[:-1]
    return text.strip(" '")


def _key(name: str) -> str:
    # Wider than Excel's own idea of alike, so never narrower.
    return unicodedata.normalize("NFKC", name).casefold()


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def quoted(name: str) -> str:
    """Write a sheet's name as formulas refer to it.

    Examples
    --------
    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + name.replace("'", "''") + "'"


def cell_text(text: str | None) -> str:
    r"""Make text fit for a cell: what XML cannot carry is replaced, what is too long is cut.

    Examples
    --------
    >>> cell_text("=1\x00"), cell_text(None)
    ('=1�', '')
    """
    text = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text or "")
    if _units(text) > _CELL:
        text = text[: _CELL // 2] + "…"
    # The writer takes such text for formatted runs and would copy it into the file as it is.
    return f"{text} " if text.startswith("<r>") and text.endswith("</r>") else text
