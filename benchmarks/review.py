"""Seconds of the first and the second `make review` on a fresh clone of HEAD, set-up included.

The package cache of uv is used as it is; `--cold` gives the first run an empty one. The two runs
must write the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import _form
from _form import Figure, Run

REPOSITORY = Path(__file__).parents[1]
REPORT = Path("reports", "2026-10", "monthly-review.html")
# Of the "Must hold".
FIRST_S, SECOND_S = 180.0, 60.0


def main() -> int:
    """Clone, run twice, report."""
    parser = _form.arguments(__doc__, rounds=1)
    parser.add_argument("--cold", action="store_true", help="start with an empty package cache")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", "--local", REPOSITORY, clone], check=True)
        if args.cold:
            os.environ["UV_CACHE_DIR"] = str(Path(folder, "cache"))
        runs: dict[str, list[Run]] = {}
        pages = []
        for name in ("first make review", "second make review"):
            runs[name] = [_form.process(["make", "--silent", "-C", str(clone), "review"])]
            pages.append((clone / REPORT).read_bytes())
        if pages[0] != pages[1]:
            raise SystemExit("the two runs wrote different bytes")
    _form.print_runs("make review on a fresh clone", runs)
    first, second = (several[0].wall for several in runs.values())
    _form.report(
        [
            Figure("review/first", first, "s", "lower", FIRST_S),
            Figure("review/second", second, "s", "lower", SECOND_S),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
