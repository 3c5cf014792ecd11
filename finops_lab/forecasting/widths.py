"""The half widths of the bounds, learned by a script and kept with where they came from."""

from __future__ import annotations

HALVES = ("lo_80", "hi_80", "lo_95", "hi_95", "lo_50", "hi_50")
# In units of the spread (see `core`), by months of history; a row holds until the next. Each is the
# mean over two public sets of the pooled quantiles of scaled errors, 1 to 12 months ahead, from
# histories that end 0, 12, 24 months before the official test of each series.
# Written by benchmarks/_forecast_widths.py on 2026-11-29 from
# m4_monthly/dev.parquet: sha256 dad957376f98bc7062ddaee5230564fa60660824847537d54af9958a990c0bde
# m3_monthly/dev.parquet: sha256 90f3cf57b31ec94c99e33cc8d2a3c4ce55a5b7df9a66c3ef43a064e4fded29e9
WIDTHS: dict[int, tuple[float, ...]] = {
    1: (5.47, 6.17, 12.84, 20.29, 1.54, 1.77),  # 1200 histories
    2: (1.17, 1.49, 2.92, 3.52, 0.40, 0.65),  # 1200 histories
    3: (1.01, 1.29, 2.21, 2.78, 0.39, 0.59),  # 1200 histories
    8: (0.78, 0.99, 1.41, 1.83, 0.32, 0.49),  # 1200 histories
    12: (0.77, 0.92, 1.36, 1.69, 0.32, 0.46),  # 1200 histories
    18: (0.74, 0.90, 1.32, 1.61, 0.32, 0.45),  # 1200 histories
    24: (1.15, 1.29, 2.08, 2.41, 0.52, 0.63),  # 1200 histories
    36: (1.11, 1.27, 2.02, 2.29, 0.51, 0.63),  # 1151 histories
    48: (1.08, 1.26, 1.97, 2.28, 0.50, 0.60),  # 1093 histories
    60: (1.09, 1.22, 1.96, 2.22, 0.49, 0.59),  # 1019 histories
}
