"""The plan of a feature that the made-up company does not have yet."""

from __future__ import annotations

__all__ = ["render"]


def render(seed: int) -> str:
    """Return the text of `plans/feature-budget.toml`."""
    return _TEXT.format(seed=seed)


_TEXT = """\
# A plan to learn from: what a feature is going to cost that nobody has used yet. Everything in it is
# made up but the list prices of models that have none here. `finops-lab feature-budget` reads it.

name = "Meeting notes"
note = "Synthetic: a made-up feature of a made-up company."
from = "2026-11"
months = 12
seed = {seed}

[usage]
sessions_per_day = {{ low = 6000, likely = 9000, high = 16000 }}
calls_per_session = {{ low = 2, likely = 3, high = 5 }}
input_tokens = {{ low = 1800, likely = 2600, high = 4200 }}
output_tokens = {{ low = 250, likely = 350, high = 600 }}
cache_hit_share = {{ low = 0.2, likely = 0.45, high = 0.6 }}
growth_per_month = {{ low = 0, likely = 0.03, high = 0.06 }}
sessions_per_customer = 40
# The share of the full use in each month since the launch; the last one goes on.
adoption = [
    {{ low = 0.05, likely = 0.1, high = 0.3 }},
    {{ low = 0.2, likely = 0.4, high = 0.7 }},
    {{ low = 0.5, likely = 0.8, high = 1 }},
    1,
]

# The first model is the plan's, the others are compared.
[[models]]
# Prices as agreed with the vendor, and what is assumed of them.
name = "quill-small"
model = "quill-small"
input_usd_per_mtok = 0.6
cached_input_usd_per_mtok = 0.06
output_usd_per_mtok = 2.4
price_change_per_year = {{ low = -0.4, likely = -0.15, high = 0 }}

[[models]]
name = "gpt-5-mini"
provider = "openai"
model = "gpt-5-mini"
# It thinks before it answers, and thinking is billed as output.
output_tokens_factor = 1.5

[[models]]
provider = "anthropic"
model = "claude-haiku-4-5"

[[models]]
provider = "google"
model = "gemini-2.5-flash"

[[models]]
# Nothing is paid for a token: see the GPUs below.
name = "larch-7b on own GPUs"
model = "larch-7b"
input_usd_per_mtok = 0
output_usd_per_mtok = 0

[[models]]
# No price is known of it: it stays in the comparison as unpriced.
model = "quill-next"

[[training]]
name = "fine-tuning"
runs_at_launch = 1
runs_per_month = {{ low = 0.25, likely = 0.5, high = 1 }}
usd_per_run = {{ low = 700, likely = 900, high = 1500 }}
# The others are used as they are.
models = ["quill-small", "larch-7b on own GPUs"]

[[capacity]]
name = "gateway"
gpu_count = 1
rate_usd_per_gpu_hour = {{ low = 0.8, likely = 0.9, high = 1.1 }}

[[capacity]]
name = "own GPUs"
gpu_count = {{ low = 2, likely = 3, high = 6 }}
rate_usd_per_gpu_hour = {{ low = 1.7, likely = 2.1, high = 2.6 }}
models = "larch-7b on own GPUs"

[revenue]
usd_per_customer = 0.9
"""
