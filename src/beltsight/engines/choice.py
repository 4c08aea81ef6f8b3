"""Which engines there are, and opening one by its name."""

from __future__ import annotations

from beltsight.engines.engine import Engine
from beltsight.engines.libraries import import_onnxruntime
from beltsight.engines.onnx_runtime import PROVIDERS, OnnxRuntimeEngine
from beltsight.engines.openvino import PRECISIONS, OpenVinoEngine, available_precisions
from beltsight.errors import ConfigError
from beltsight.machine import usable_cores

DEFAULT_ENGINE = "onnxruntime-cpu"
ENGINES = (*PROVIDERS, *PRECISIONS)


def open_engine(name: str, model: bytes, threads: int = 0, streams: int = 1) -> Engine:
    """An engine ready to compute.

    Args:
        name: one of ``ENGINES``.
        model: the ONNX file's content.
        threads: computing threads in all; 0 means one per core.
        streams: calls at once, among which the threads are shared: 1 for the least latency,
            ``threads`` for the most photos per second.

    Raises:
        ConfigError: no such engine, or impossible counts.
        MissingExtraError: its library is not installed.
        ModelError: its hardware is not there.
        ModelFileError: it cannot load the file.
    """
    if threads < 0 or streams < 1:
        raise ConfigError(f"threads must be 0 or more and streams 1 or more: {threads}, {streams}")
    counted = threads or usable_cores()
    if name in PROVIDERS:
        return OnnxRuntimeEngine(model, counted, streams, name)
    if name in PRECISIONS:
        return OpenVinoEngine(model, counted, streams, name)
    raise ConfigError(f"no engine is called {name!r}; there are: {', '.join(ENGINES)}")


def available_engines() -> tuple[str, ...]:
    """Names of the engines whose libraries this machine has.

    Opening one may still fail: ONNX Runtime lists providers whose drivers are missing.
    """
    there = import_onnxruntime().get_available_providers()
    names = (name for name, provider in PROVIDERS.items() if provider in there)
    return (*names, *available_precisions())
