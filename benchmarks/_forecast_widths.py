"""Learn the half widths of the bounds and write them to finops_lab/forecasting/widths.py.

`--check` learns on every second series and shows the coverage of the others, and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from hashlib import sha256
from pathlib import Path

import _forecast_data as data
import numpy as np
from _forecast_data import Floats

from finops_lab.forecasting.widths import HALVES, WIDTHS

TARGET = Path(__file__).parents[1] / "finops_lab" / "forecasting" / "widths.py"
MONTHS = 12
QUANTILE = {"lo_80": 0.1, "hi_80": 0.9, "lo_95": 0.025, "hi_95": 0.975, "lo_50": 0.25, "hi_50": 0.75}
SIGN = np.array([-1.0 if name.startswith("lo") else 1.0 for name in HALVES])


def scaled_errors(name: str, length: int, take: int) -> Floats:
    """Return what came less the centre, in units of the spread: a row per series."""
    sample = data.sample(name, length, MONTHS, take=take)
    point, halves = data.run(sample.history, MONTHS)
    # A half width is the spread times the table's present value.
    spread = halves[:, 0] / WIDTHS[max(start for start in WIDTHS if start <= length)][0]
    return (sample.truth - point) / spread


def learn(sets: dict[str, Floats]) -> list[float]:
    """Return the mean over the sets of the quantiles of their errors, as half widths."""
    rows = [np.quantile(errors, [QUANTILE[name] for name in HALVES]) for errors in sets.values()]
    return [max(float(v), 0.01) for v in np.round(np.mean(rows, axis=0) * SIGN, 2)]


def coverage(errors: Floats, widths: list[float]) -> dict[str, float]:
    """Return the share inside the 50, 80 and 95 % bounds."""
    bounds = dict(zip(HALVES, widths, strict=True))
    return {
        p: float(((errors >= -bounds[f"lo_{p}"]) & (errors <= bounds[f"hi_{p}"])).mean())
        for p in ("50", "80", "95")
    }


def main() -> int:
    """Learn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--take", type=int, default=1, help="use each n-th series")
    parser.add_argument("--check", action="store_true", help="learn on half, cover the other half")
    parser.add_argument("--today", type=date.fromisoformat, help="the date to write into the table")
    args = parser.parse_args()
    names = list(data.there())
    table: dict[int, list[float]] = {}
    counts: dict[int, int] = {}
    for length in WIDTHS:
        sets = {name: scaled_errors(name, length, args.take) for name in names}
        if args.check:
            widths = learn({name: errors[::2] for name, errors in sets.items()})
            for name, errors in sets.items():
                print(
                    length,
                    name,
                    {p: round(v, 3) for p, v in coverage(errors[1::2], widths).items()},
                    flush=True,
                )
            continue
        table[length], counts[length] = learn(sets), sum(len(errors) for errors in sets.values())
        print(
            length,
            counts[length],
            table[length],
            {n: coverage(e, table[length]) for n, e in sets.items()},
            flush=True,
        )
    if not args.check:
        write(table, counts, names, args.today)
    return 0


def write(
    table: dict[int, list[float]], counts: dict[int, int], names: list[str], today: date | None
) -> None:
    """Write the module: the table with its provenance."""
    hashes = [
        f"# {data.SETS[n]}/dev.parquet: sha256 {sha256(data.path(n).read_bytes()).hexdigest()}" for n in names
    ]
    rows = [
        f"    {length}: ({', '.join(f'{v:.2f}' for v in row)}),  # {counts[length]} histories"
        for length, row in table.items()
    ]
    when = f" on {today}" if today else ""
    lines = [
        '"""The half widths of the bounds, learned by a script and kept with where they came from."""',
        "",
        "from __future__ import annotations",
        "",
        'HALVES = ("' + '", "'.join(HALVES) + '")',
        "# In units of the spread (see `core`), by months of history; a row holds until the next. Each is the",
        "# mean over two public sets of the pooled quantiles of scaled errors in the first 12 months of the",
        "# official test of each series.",
        f"# Written by benchmarks/_forecast_widths.py{when} from",
        *hashes,
        "WIDTHS: dict[int, tuple[float, ...]] = {",
        *rows,
        "}",
        "",
    ]
    TARGET.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
