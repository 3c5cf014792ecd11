"""Trade-offs: exactness against brute force, intervals and error rates by simulation, speed against peers.

Fronts against moocore and optuna (in an environment of their own), the router against HiGHS, coverage of
intervals and of verdicts, false promotions of a canary that is looked at all the time.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import _form
import _tradeoff_front

# The other parts, each with `figures(quick) -> list[Figure]`.
PARTS = ("_tradeoff_proof", "_tradeoff_canary", "_tradeoff_routing")


def main() -> int:
    """Run all parts, print, write the figures."""
    parser = _form.arguments(__doc__, rounds=5)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, without peers that need an environment"
    )
    args = parser.parse_args()
    figures = _tradeoff_front.figures(args.quick, args.rounds)
    for part in PARTS:
        figures += importlib.import_module(part).figures(args.quick)
    named = [
        figure if figure.name.startswith("tradeoffs/") else replace(figure, name=f"tradeoffs/{figure.name}")
        for figure in figures
    ]
    _form.report(named, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
