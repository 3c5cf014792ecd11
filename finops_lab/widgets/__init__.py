"""Controls for JupyterLab: drawing and asking only, no arithmetic on money."""

from finops_lab.widgets.decider import DecisionSliders
from finops_lab.widgets.explorer import Explorer
from finops_lab.widgets.sliders import FeatureSliders

__all__ = ["DecisionSliders", "Explorer", "FeatureSliders"]
