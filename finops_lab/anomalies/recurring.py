"""What comes again and again, on no day that a calendar knows: judged by its size, not by its coming."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

__all__ = ["WEEKS", "recurs"]

WEEKS = 26  # that earlier events are remembered for
_FEWEST = 4  # of them: more than a budget of false alarms brings by itself
_ALIKE = 0.6  # spread of the logs of their sizes, beyond which they have nothing in common
_LEAST_SPREAD = 0.15
_CHANCE = 0.005  # that one like all others is taken for a larger one
_MOST = 3.0  # times the usual size: more is more, however few and different they were


def recurs(size: float, before: Sequence[float]) -> bool:
    """Tell whether an event is one of those that come again and again, no larger than they are.

    Retrains that are due every two weeks or three are no anomaly of their days, and no calendar tells
    those days. Where a slice had at least four events of like size, the next one is held against
    the Student prediction limit of the logs of their sizes (median and scaled median deviation), and three
    times their median.

    Parameters
    ----------
    size : float
        Money of the event so far, above 0.
    before : sequence of float
        The same of the slice's earlier events in the same direction, of the last `WEEKS`.

    Examples
    --------
    >>> before = [980.0, 1050.0, 1120.0, 1010.0]
    >>> recurs(1100.0, before), recurs(4000.0, before), recurs(1100.0, before[:3])
    (True, False, False)
    """
    if len(before) < _FEWEST:
        return False
    from scipy.stats import t

    logs = np.log(np.asarray(before))
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
    if spread > _ALIKE:
        return False
    beyond = float(t.isf(_CHANCE, len(before) - 1)) * (1 + 1 / len(before)) ** 0.5 * spread
    return bool(log(size) <= middle + min(beyond, log(_MOST)))
