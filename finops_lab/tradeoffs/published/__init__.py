"""Published sets of measurements, read into points with what is wrong in them said.

A module here that has ``KIND``, ``LAYOUT``, ``recognises`` and ``read`` is a reader; one with ``queries``
instead of ``read`` gives the answers of every query, and its points are their averages.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.answered import Answered
from finops_lab.tradeoffs.published.results import FINDINGS, PAIRS, Published

__all__ = ["FINDINGS", "PAIRS", "Published", "Reader", "read_published", "readers"]


class Reader(Protocol):
    """A module that reads one published set."""

    KIND: str
    LAYOUT: str

    @staticmethod
    def recognises(path: Path) -> bool:
        """Tell by content whether a file or folder is of this set."""
        ...

    @staticmethod
    def read(path: Path) -> Published:
        """Read the file or folder."""
        ...


@cache
def readers() -> Mapping[str, Reader]:
    """Return the reader of every kind, sorted by kind.

    Examples
    --------
    >>> "timm" in readers()
    True
    """
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = [_reader(module) for module in modules if hasattr(module, "KIND")]
    return {reader.KIND: reader for reader in sorted(found, key=lambda reader: reader.KIND)}


def _reader(module: Any) -> Reader:
    if hasattr(module, "read"):
        return cast(Reader, module)
    licence = getattr(module, "LICENCE", Answered.LICENCE)
    return cast(Reader, Answered(module.KIND, module.LAYOUT, module.recognises, module.queries, licence))


def read_published(path: str | Path, kind: str | None = None) -> Published:
    """Read a published set of measurements.

    Parameters
    ----------
    path : str or pathlib.Path
        A file or folder as it was published.
    kind : str, optional
        The kind of set, one of `readers`. By default it is recognised by content.

    Returns
    -------
    Published
        ``points`` (columns of a points frame, one row for each variant, setting and metric), ``pairs``
        (variants beside their baselines), ``findings`` (what was dropped, merged or is doubtful) and
        ``source``. Costs are ``relative``, in seconds of the machine for 1,000 inferences, where a set
        tells throughput alone; each reader says of which machine. Filter points to one metric, or
        name it to what reads them: sets tell several.

    Raises
    ------
    InputError
        No such file or kind, a layout that no reader knows, or a faulty file: file, row, column and
        the likely fix are named.

    Examples
    --------
    >>> import tempfile
    >>> text = '''quant,bits_per_weight,size_gib,pp512_tps,pp512_sd,tg128_tps,tg128_sd
    ... Q8_0,8.5,7.95,1024,8.3,51.2,0.1
    ... F16,16.0,14.96,512,0.5,25.6,0.1'''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "table.csv"
    ...     _ = file.write_text(text)
    ...     found = read_published(file)
    >>> found.points.filter(workload="tg128").select("variant", "per_1000_inferences").rows()
    [('Q8_0', 2500.0), ('F16', 5000.0)]
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder", file=path)
    known = readers()
    if kind is not None:
        if kind not in known:
            raise InputError(f"no published set is called {kind!r}", hint=f"known: {', '.join(known)}")
        return known[kind].read(path)
    for reader in known.values():
        if reader.recognises(path):
            return reader.read(path)
    layouts = "; ".join(f"{name} ({reader.LAYOUT})" for name, reader in known.items())
    raise InputError("the layout is that of no published set", file=path, hint=f"known: {layouts}")
