"""Monthly forecasts with honest bounds, and the backtest that says how far to trust them.

Long polars frames in (``unique_id, ds, y``), one row per series and month out. Nothing heavy is
imported until a function is called, so ``import finops_lab.forecasting`` is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finops_lab.forecasting.combination import cleaned, forecast, seasonal_naive
    from finops_lab.forecasting.prophet import prophet_forecast
    from finops_lab.forecasting.rolling_origin import backtest

__all__ = ["backtest", "cleaned", "forecast", "prophet_forecast", "seasonal_naive"]

_MODULES = {"backtest": "rolling_origin", "prophet_forecast": "prophet"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _MODULES.get(name, "combination")
    return getattr(import_module(f"{__name__}.{module}"), name)
