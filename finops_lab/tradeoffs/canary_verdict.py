"""What follows from the checks of a canary: promote, hold or roll back, in one sentence."""

from __future__ import annotations

from typing import Any

import polars as pl

from finops_lab.errors import InputError

__all__ = ["alphas", "verdict"]

_KINDS = 4  # that can roll back: quality, latency, errors, burn


def alphas(alpha: float, rows: int = 1) -> tuple[float, float]:
    """Share the chance of a wrong decision among checks.

    Parameters
    ----------
    alpha : float
        Chance of promoting wrongly, and of rolling back wrongly.
    rows : int
        Checks of one kind.

    Returns
    -------
    tuple of (float, float)
        For ``ok`` and for ``breached``. Nothing is promoted unless every check is ok, so that each may
        use all of it (intersection-union test); one breach is enough to roll back, so that four kinds and
        their checks share it (Bonferroni).

    Examples
    --------
    >>> alphas(0.05, 2)
    (0.05, 0.00625)
    """
    if not 0 < alpha < 0.5:
        raise InputError(f"the chance of a wrong decision must be between 0 and 0.5, not {alpha}")
    return alpha, alpha / _KINDS / max(rows, 1)


def verdict(checks: pl.DataFrame, name: str = "the canary") -> tuple[str, str]:
    """Decide from checks.

    Parameters
    ----------
    checks : polars.DataFrame
        `finops_lab.tradeoffs.checks.CHECKS`.
    name : str
        What to call the canary.

    Returns
    -------
    tuple of (str, str)
        ``roll back`` where a check of quality, latency, errors or burn is breached; ``promote`` where
        all that are required are ok, one of quality among them; else ``hold``. And a sentence.

    Examples
    --------
    >>> from finops_lab.tradeoffs.checks import check
    >>> seen = check("error rate", "errors", "breached", reason="twice as many")
    >>> verdict(seen, "int8")
    ('roll back', 'Roll back int8: error rate is breached (twice as many).')
    """
    bad = checks.filter(pl.col("status") == "breached", ~pl.col("kind").is_in(["mix", "estimate"]))
    if bad.height:
        said = "; ".join(f"{row['check']} is breached ({row['reason']})" for row in bad.iter_rows(named=True))
        return "roll back", f"Roll back {name}: {said}."
    needed = checks.filter("required")
    open_ = needed.filter(pl.col("status") != "ok")
    if open_.height:
        said = "; ".join(_waits(row) for row in open_.iter_rows(named=True))
        return "hold", f"Hold {name}: {said}."
    if "quality" not in set(needed["kind"]):
        return "hold", f"Hold {name}: its quality was not checked."
    return (
        "promote",
        f"Promote {name}: {'its check is' if needed.height == 1 else f'all {needed.height} checks are'} ok.",
    )


def _waits(row: dict[str, Any]) -> str:
    if row["status"] == "breached":
        return f"the sample is not representative ({row['reason']})"
    needed = row["n_needed"]
    more = f", about {needed:,} needed" if needed is not None else ""
    seen = row["reason"] if row["n"] is None else f"{row['n']:,} seen{more}"
    return f"{row['check']} is not known yet ({seen})"
