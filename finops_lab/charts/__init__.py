"""Drawing only: small frames in, Altair charts out, with titles, units and alt text.

Every function takes a frame that is already aggregated (at most 5,000 rows), casts money to floats
once, and returns a chart whose specification is the same for the same data. Altair is imported when
a chart is drawn, not when this package is.
"""

from finops_lab.charts.break_even import break_even_lines
from finops_lab.charts.burn_down import burn_down_chart
from finops_lab.charts.decider import variant_decider
from finops_lab.charts.disagreement import disagreement_ranges
from finops_lab.charts.forecast import forecast_fan
from finops_lab.charts.labels import compact
from finops_lab.charts.parallel import variant_lines
from finops_lab.charts.planned import planned_months, tornado_bars
from finops_lab.charts.renderer import CHART_MIME, use_report_renderer
from finops_lab.charts.spend import ranked_bars, spend_trend
from finops_lab.charts.theme import PALETTE
from finops_lab.charts.tradeoff import pareto
from finops_lab.charts.variance import variance_bars
from finops_lab.charts.variants_plane import variant_planes
from finops_lab.charts.waterfall import waterfall

__all__ = [
    "CHART_MIME",
    "PALETTE",
    "break_even_lines",
    "burn_down_chart",
    "compact",
    "disagreement_ranges",
    "forecast_fan",
    "pareto",
    "planned_months",
    "ranked_bars",
    "spend_trend",
    "tornado_bars",
    "use_report_renderer",
    "variance_bars",
    "variant_decider",
    "variant_lines",
    "variant_planes",
    "waterfall",
]
