"""The half widths of the bounds, learned by a script and kept with where they came from."""

from __future__ import annotations

HALVES = ("lo_80", "hi_80", "lo_95", "hi_95", "lo_50", "hi_50")
# In units of the spread (see `core`), by months of history; a row holds until the next. Each is the
# mean over two public sets of the pooled quantiles of scaled errors in the first 12 months of the
# official test of each series.
# Written by benchmarks/_forecast_widths.py on 2026-11-29 from
# m4_monthly/dev.parquet: sha256 dad957376f98bc7062ddaee5230564fa60660824847537d54af9958a990c0bde
# m3_monthly/dev.parquet: sha256 90f3cf57b31ec94c99e33cc8d2a3c4ce55a5b7df9a66c3ef43a064e4fded29e9
WIDTHS: dict[int, tuple[float, ...]] = {
    1: (6.06, 4.58, 13.25, 15.94, 1.77, 1.68),  # 800 histories
    2: (1.14, 1.48, 2.82, 3.15, 0.39, 0.65),  # 800 histories
    3: (0.98, 1.27, 2.10, 2.49, 0.38, 0.59),  # 800 histories
    8: (0.76, 0.99, 1.34, 1.78, 0.32, 0.51),  # 800 histories
    12: (0.73, 0.94, 1.29, 1.63, 0.31, 0.49),  # 800 histories
    18: (0.72, 0.90, 1.29, 1.57, 0.31, 0.47),  # 800 histories
    24: (1.08, 1.32, 1.74, 2.31, 0.52, 0.65),  # 800 histories
    36: (1.07, 1.32, 1.70, 2.21, 0.53, 0.64),  # 800 histories
    48: (1.05, 1.27, 1.66, 2.13, 0.52, 0.61),  # 800 histories
    60: (1.00, 1.28, 1.68, 2.13, 0.48, 0.65),  # 703 histories
}
