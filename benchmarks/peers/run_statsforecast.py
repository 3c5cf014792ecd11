"""Forecast series by statsforecast, in an environment of its own: it needs pandas below 3.

Reads an .npz with `y` (a row per series) and writes one with a row of forecasts per series and the
CPU seconds of a series. Imports and the first, warming fit do not count.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from statsforecast.models import AutoARIMA, AutoETS

MODELS = {"AutoETS": AutoETS, "AutoARIMA": AutoARIMA}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("months", type=int)
    parser.add_argument("series", type=Path)
    parser.add_argument("answer", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    def fit(y: np.ndarray) -> np.ndarray:
        return MODELS[args.model](season_length=12).forecast(y=y, h=args.months)["mean"]

    series = np.load(args.series)["y"]
    fit(series[0])
    start = time.process_time()
    points = [fit(y) for y in series]
    np.savez(args.answer, point=points, seconds=(time.process_time() - start) / len(series))


if __name__ == "__main__":
    main()
