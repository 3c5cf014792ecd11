"""Measuring on a GPU: torch, CUDA events, NVML's energy. On a machine without one, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from finops_lab.profiling.blocks import Run, Workload
from finops_lab.profiling.clocks import Clock, CpuClock, GpuClock
from finops_lab.profiling.machine import packages
from finops_lab.profiling.measure import Loads, Variant, chosen, measure, right_and_wrong
from finops_lab.profiling.needs import needs
from finops_lab.profiling.texts import docstrings, texts_of
from finops_lab.profiling.torch_encoder import TORCH_VARIANTS, TorchEncoder, random_weights
from finops_lab.tradeoffs.measurement import Measurement

__all__ = ["profile_torch"]

_WIDE = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 4,
    "intermediate_size": 16_384,
    "layer_norm_eps": 1e-12,
    "vocab_size": 4096,
    "max_position_embeddings": 512,
}
_TINY = {**_WIDE, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256, "vocab_size": 256}
_BATCHES = (1, 8, 32, 128, 512)
_TOKENS = 128


def profile_torch(
    model: str = "minilm",
    *,
    variants: Sequence[str] | None = None,
    dataset: Path | None = None,
    small: bool = False,
    rounds: int | None = None,
    loads: Loads | None = None,
    seed: int = 1,
    today: date | None = None,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Measurement:
    """Measure an encoder in torch: fp32, bf16, fp8 and int8 products.

    Parameters
    ----------
    model : str
        ``minilm``: the sentence encoder, with accuracy. It is too narrow for 8 bits to pay on a GPU.
        ``wide``: a transformer 4,096 wide with random weights, for speed alone.
    variants : sequence of str, optional
        Of `finops_lab.profiling.torch_encoder.TORCH_VARIANTS`; all by default. ``fp32`` is always there.
    dataset : pathlib.Path, optional
        As for `finops_lab.profiling.minilm.profile_minilm`; ``wide`` has no use for it.
    small : bool
        A form for tests: few rounds, and ``wide`` is 128 wide.
    rounds : int, optional
        Of every batch size (300 unless given).
    loads : Loads, optional
        Also measure the latency of single texts under these loads.
    seed : int
        Of orders, splits and weights.
    today : datetime.date, optional
        Put down as the date.
    waiting : callable, optional
        As for `finops_lab.profiling.time_blocks`.

    Returns
    -------
    Measurement
        Workloads ``batch1`` to ``batch512`` of 128 tokens. With CUDA: ``gpu_ms`` by events, 50
        calls of warm-up, and ``batch32_sustained``, whose rounds last a second or more so that
        ``energy_j`` means something. On the CPU: one thread, batches up to 8.

    Raises
    ------
    InputError
        torch is not installed, or an unknown variant.
    """
    needs("torch")
    import torch

    names = chosen(variants, list(TORCH_VARIANTS), list(TORCH_VARIANTS))
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    clock: Clock = GpuClock() if cuda else CpuClock()
    threads = torch.get_num_threads()
    if not cuda:
        torch.set_num_threads(1)
    try:
        return _measured(
            model,
            names,
            device,
            clock,
            dataset=dataset,
            small=small,
            rounds=rounds,
            loads=loads,
            seed=seed,
            today=today,
            waiting=waiting,
        )
    finally:
        torch.set_num_threads(threads)


def _measured(
    model: str,
    names: list[str],
    device: str,
    clock: Clock,
    *,
    dataset: Path | None,
    small: bool,
    rounds: int | None,
    loads: Loads | None,
    seed: int,
    today: date | None,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None,
) -> Measurement:
    import torch

    cuda = device == "cuda"
    outcomes, sets = None, []
    random = np.random.default_rng(seed)
    made: dict[str, Variant] = {}
    if model == "minilm":
        from finops_lab.profiling.minilm import FULL, SMALL, SMALL_CLASSES, Encoder, Texts

        encoder = Encoder()
        weights, config, named = encoder.weights, encoder.config, "all-MiniLM-L6-v2"
    else:
        config, named = (_TINY, "tiny-transformer") if small else (_WIDE, "wide-transformer")
        weights = random_weights(config, seed)
    for name in names:
        before = torch.cuda.memory_allocated() if cuda else 0
        made[name] = _variant(TorchEncoder(weights, config, name, device), name, before)
    runs: dict[str, Run] = {name: variant.run for name, variant in made.items()}
    if model == "minilm":
        data = [docstrings(SMALL_CLASSES if small else None), *([texts_of(dataset)] if dataset else [])]
        texts = [Texts.split(one, encoder, SMALL if small else FULL, seed) for one in data]
        wait = (lambda items, label: items) if waiting is None else waiting
        scored = [(t.data.name, t.scores(runs, wait, workers=1 if cuda else os.cpu_count())) for t in texts]
        outcomes = pl.concat([right_and_wrong(named, dataset_name, found) for dataset_name, found in scored])
        sets = [t.told() for t in texts]
    tokens = 16 if small else _TOKENS
    vocabulary = min(config["vocab_size"], 20_000)
    usual = (4 if small else 300) if rounds is None else rounds

    def work(batch: int, times: int, name: str, calls: int = 1) -> Workload:
        ids = [random.integers(1, vocabulary, (batch, tokens)) for _ in range(4)]
        feeds = [{"input_ids": x, "attention_mask": np.ones_like(x)} for x in ids]
        return Workload(name, feeds, batch, times, [batch * tokens] * len(feeds), calls)

    sizes = _BATCHES if cuda else _BATCHES[: 1 if small else 2]
    workloads = [work(batch, usual, f"batch{batch}") for batch in sizes]
    if cuda:
        sustained = work(32, 10, "batch32_sustained")
        spent = [clock.time(runs[names[0]], sustained.inputs[0], 1).wall_ms for _ in range(5)]
        calls = max(1, round(3_000 / min(spent)))
        workloads.append(work(32, 10, "batch32_sustained", calls))
    return measure(
        named,
        made,
        workloads,
        outcomes=outcomes,
        loads=loads,
        seed=seed,
        warm_up=50 if cuda else 2,
        clock=clock,
        provenance={
            "date": None if today is None else today.isoformat(),
            "packages": packages(["torch", "numpy", "nvidia-ml-py"]),
            "model": {"name": named, "config": dict(config)},
            "datasets": sets,
            "gpu": torch.cuda.get_device_name() if cuda else None,
            "cuda": torch.version.cuda,
            "form": "small" if small else "full",
            "protocol": {
                "clock": "CUDA events, wall and thread CPU time" if cuda else "wall and thread CPU time",
                "energy": "NVML total energy of the GPU, rounds of half a second and more"
                if isinstance(clock, GpuClock) and clock.measures_energy
                else "not measured",
                "threads": None if cuda else 1,
                "execution": "eager: fp8 and int8 pay for their conversions kernel by kernel",
            },
        },
        waiting=waiting,
    )


def _variant(encoder: TorchEncoder, name: str, before: int) -> Variant:
    import torch

    if encoder.device == "cpu":
        return Variant(encoder, TORCH_VARIANTS[name], "cpu", "torch eager, 1 thread")
    taken = round((torch.cuda.memory_allocated() - before) / 2**20, 1)
    return Variant(
        encoder, TORCH_VARIANTS[name], torch.cuda.get_device_name(), "torch eager", memory_mib=taken
    )
