"""Pareto fronts and hypervolumes by moocore and optuna, in an environment of their own.

Reads an .npy of points, smaller is better, and writes an .npz with `found` (which points are on the
front, equal ones included, or the hypervolume) and the CPU seconds. Imports and a small warming run do not
count.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import moocore
import numpy as np
from optuna.study._multi_objective import _is_pareto_front

CASES = {
    "moocore": lambda points: moocore.is_nondominated(points, keep_weakly=True),
    "optuna": lambda points: _is_pareto_front(points, assume_unique_lexsorted=False),
    "hypervolume": lambda points: moocore.hypervolume(points, ref=np.ones(points.shape[1])),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("points", type=Path)
    parser.add_argument("answer", type=Path)
    args = parser.parse_args()
    points, work = np.load(args.points), CASES[args.case]
    work(points[:100])
    start = time.process_time()
    found = work(points)
    np.savez(args.answer, seconds=time.process_time() - start, found=found)


if __name__ == "__main__":
    main()
