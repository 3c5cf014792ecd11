"""Which money and which calls are of the same traffic, so that one may be divided by the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SameTraffic"]


class SameTraffic:
    """Money and calls with a number for each month and name: rows are compared by numbers, 0 is null.

    Parameters
    ----------
    money : polars.DataFrame
        ``month``, ``model``, ``feature``, ``pool`` and `dimensions`.
    calls : polars.DataFrame
        ``month``, ``model``, ``feature`` and `dimensions`.
    dimensions : sequence of str
        Dimensions that rows can be matched within.
    """

    def __init__(self, money: pl.DataFrame, calls: pl.DataFrame, dimensions: Sequence[str]) -> None:
        names = list(dict.fromkeys(["month", "model", "feature", *dimensions]))
        texts = pl.col(names).cast(pl.String)
        both = pl.concat(
            [
                money.select(texts, pl.col("pool").cast(pl.String)),
                calls.select(texts, pl.lit(None, pl.String).alias("pool")),
            ]
        )
        kinds = {name: pl.Categorical(pl.Categories.random(name)) for name in both.columns}
        numbers = both.select(
            (pl.col(name).cast(kind).to_physical() + 1).fill_null(0).cast(pl.Int64)
            for name, kind in kinds.items()
        )
        self._sizes = {name: int(numbers[name].max() or 0) + 1 for name in numbers.columns}  # type: ignore[arg-type]
        self._money, self._calls = (
            {name: part[name].to_numpy() for name in part.columns}
            for part in (numbers.head(money.height), numbers.tail(calls.height))
        )

    def matched(self, dimension: str | None) -> tuple[pl.Series, pl.Series]:
        """Mark money that calls name, and calls that some money is of: within each value of a dimension.

        Money counts where calls of the month name its model; money without a model where they name its
        feature; money with neither where it is part of a pool of which other money counts. Calls count
        where some money of their model or feature does.

        Examples
        --------
        >>> day = {"month": [1, 1], "pool": [None, None]}
        >>> money = pl.DataFrame({**day, "model": ["m", None], "feature": [None, "chat"]})
        >>> calls = pl.DataFrame({"month": [1, 1], "model": ["m", "n"], "feature": [None, "chat"]})
        >>> [marks.to_list() for marks in SameTraffic(money, calls, []).matched(None)]
        [[True, True], [True, True]]
        """
        import numpy as np

        money, calls = self._money, self._calls

        def key(rows: dict[str, np.ndarray], name: str) -> np.ndarray:
            packed = np.zeros_like(rows["month"])
            for part in ("month", *([] if dimension is None else [dimension]), name):
                packed = packed * self._sizes[part] + rows[part]
            return packed

        def among(
            rows: dict[str, np.ndarray], others: dict[str, np.ndarray], name: str, such: np.ndarray
        ) -> np.ndarray:
            seen = key(others, name)[such & (others[name] > 0)]
            found: np.ndarray = np.isin(key(rows, name), seen) & (rows[name] > 0)
            return found

        every = np.ones(len(calls["month"]), dtype=bool)
        nameless, featured = money["model"] == 0, money["feature"] > 0
        counts = among(money, calls, "model", every) | (among(money, calls, "feature", every) & nameless)
        # Idle and dark parts of a pool name neither; they go with the pool's other parts.
        counts |= among(money, money, "pool", counts) & nameless & ~featured
        known = among(calls, money, "model", counts)
        known |= among(calls, money, "feature", counts & nameless & featured)
        return pl.Series("matched", counts), pl.Series("matched", known)
