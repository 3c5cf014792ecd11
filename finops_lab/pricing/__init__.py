"""What calls to models cost: the dated price book and exact pricing of requests as of their moment.

>>> import polars as pl
>>> from finops_lab.pricing import match_models
>>> names = pl.DataFrame({"provider": ["openai"], "model": ["gpt-4o-2024-08-06"]})
>>> match_models(names).rows()
[('openai', 'gpt-4o-2024-08-06', 'openai', 'gpt-4o', True)]
"""

from __future__ import annotations

from finops_lab.pricing.asof import price, unpriced
from finops_lab.pricing.book import price_book
from finops_lab.pricing.compare import conflicts
from finops_lab.pricing.litellm import from_litellm
from finops_lab.pricing.names import match_models

__all__ = ["conflicts", "from_litellm", "match_models", "price", "price_book", "unpriced"]
