"""Clocks: wall and thread CPU time on a CPU, events and an energy counter on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

__all__ = ["Clock", "CpuClock", "GpuClock", "Spent"]


class Spent(NamedTuple):
    """What a round took; null is unknown.

    Parameters
    ----------
    wall_ms : float
        From call to answer.
    cpu_ms, gpu_ms : float or None
        Time of this thread on its CPU; time of the GPU's stream.
    energy_j : float or None
        Of the whole GPU.
    """

    wall_ms: float
    cpu_ms: float | None = None
    gpu_ms: float | None = None
    energy_j: float | None = None


class Clock(Protocol):
    """Whatever times a round."""

    def time(self, run: Callable[[Any], object], given: object, calls: int) -> Spent:
        """Run the input so many times and say what it took."""


class CpuClock:
    """Wall time, and CPU time of the calling thread, which does all the work when there is only one.

    Parameters
    ----------
    whole_process : bool
        CPU time of all threads instead: for code that starts threads of its own.

    Examples
    --------
    >>> spent = CpuClock().time(sum, range(1000), 1)
    >>> 0 < spent.cpu_ms and spent.gpu_ms is None
    True
    """

    def __init__(self, *, whole_process: bool = False) -> None:
        self._cpu_ns = time.process_time_ns if whole_process else time.thread_time_ns

    def time(self, run: Callable[[Any], object], given: object, calls: int) -> Spent:
        """Run the input so many times and say what it took."""
        wall, cpu = time.perf_counter_ns(), self._cpu_ns()
        for _ in range(calls):
            run(given)
        cpu, wall = self._cpu_ns() - cpu, time.perf_counter_ns() - wall
        return Spent(round(wall / 1e6, 4), round(cpu / 1e6, 4))


class GpuClock:
    """CUDA events around the calls, and NVML's energy counter where it is to be had.

    The counter moves every few ten milliseconds and counts the whole GPU: a round must last a second
    or so (`finops_lab.profiling.Workload.calls`) for its energy to mean something; of shorter ones it
    is null.

    Parameters
    ----------
    index : int
        Of the GPU.
    energy_from_ms : float
        Rounds shorter than this have no energy.
    """

    def __init__(self, index: int = 0, *, energy_from_ms: float = 500.0) -> None:
        self.index, self.energy_from_ms = index, energy_from_ms
        self._nvml = _nvml_handle(index)

    @property
    def measures_energy(self) -> bool:
        """Whether NVML (package nvidia-ml-py) gives this GPU's energy."""
        return self._nvml is not None

    def time(self, run: Callable[[Any], object], given: object, calls: int) -> Spent:
        """Run the input so many times and say what it took."""
        import torch

        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.index)
        energy = self._energy_mj()
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        first.record()
        for _ in range(calls):
            run(given)
        last.record()
        torch.cuda.synchronize(self.index)
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        after, wall_ms = self._energy_mj(), wall / 1e6
        known = energy is not None and after is not None and wall_ms >= self.energy_from_ms
        return Spent(
            round(wall_ms, 4),
            round(cpu / 1e6, 4),
            round(first.elapsed_time(last), 4),
            (after - energy) / 1e3 if known else None,  # type: ignore[operator]
        )

    def _energy_mj(self) -> int | None:
        if self._nvml is None:
            return None
        import pynvml

        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._nvml))


def _nvml_handle(index: int) -> object | None:
    """Return NVML's handle of a GPU; None without the package, the library or the counter."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle: object = pynvml.nvmlDeviceGetHandleByIndex(index)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return None
    return handle
