"""Volume, price, mix, retries or cache: what changed the spend of a slice, in terms that add up exactly.

Calls tell most: they go through the bridge between two months, the event's span as the later one and
the mean of the spans before as the earlier. Without calls the bill's own quantities tell volume, mix and
price. Where nothing is measured the whole change says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from finops_lab.anomalies.attribution import DIMENSIONS
from finops_lab.errors import InputError, NoDataError
from finops_lab.money import MONEY, exact_sum
from finops_lab.unit_economics.bridge import bridge
from finops_lab.unit_economics.bridge_cells import CALLS
from finops_lab.unit_economics.bridge_terms import rounded
