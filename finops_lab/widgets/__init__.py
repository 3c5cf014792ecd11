"""Controls for JupyterLab: drawing and asking only, no arithmetic on money."""

from finops_lab.widgets.explorer import Explorer

__all__ = ["Explorer"]
