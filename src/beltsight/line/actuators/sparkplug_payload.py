"""Sparkplug B's payload: metrics to bytes and back.

The message is built from the field numbers that the specification publishes; no generated code is
shipped. Sets, templates and files are not needed here and are passed over when read.

Source: Eclipse Sparkplug 3.0, chapter 6 (Payloads).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from beltsight.errors import MissingExtraError

INT64, UINT64, BOOLEAN, STRING = 4, 8, 11, 12
_UINT32_BITS, _UINT64_BITS = 32, 64
_BITS = {1: 8, 2: 16, 3: 32, 4: 64}  # of the signed types, which travel as unsigned numbers

# (name, number, type) of each field; the types are those of protobuf's own descriptor.
_DOUBLE, _FLOAT, _U64, _BOOL, _STR, _MSG, _BYTES, _U32 = 1, 2, 4, 8, 9, 11, 12, 13
_PAYLOAD = (("timestamp", 1, _U64), ("metrics", 2, _MSG), ("seq", 3, _U64))
_METRIC = (
    ("name", 1, _STR), ("alias", 2, _U64), ("timestamp", 3, _U64), ("datatype", 4, _U32),
    ("is_null", 7, _BOOL), ("int_value", 10, _U32), ("long_value", 11, _U64),
    ("float_value", 12, _FLOAT), ("double_value", 13, _DOUBLE), ("boolean_value", 14, _BOOL),
    ("string_value", 15, _STR), ("bytes_value", 16, _BYTES),
)  # fmt: skip

Value = int | float | bool | str | bytes | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One named value.

    Args:
        value: None says that there is none.
        datatype: ``INT64``, ``UINT64``, ``BOOLEAN`` or ``STRING``; 0 where the sender left it out.
        name: in births; later messages may name the alias alone.
        alias: a number for the name, unique within the edge node.
    """

    value: Value
    datatype: int = 0
    name: str | None = None
    alias: int | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """One message.

    Args:
        metrics: in order.
        timestamp_ms: since 1970, UTC; None where the sender left it out.
        seq: 0 to 255; None in deaths and commands.
    """

    metrics: tuple[Metric, ...]
    timestamp_ms: int | None = None
    seq: int | None = None


def encode(payload: Payload) -> bytes:
    """A payload as bytes.

    Raises:
        MissingExtraError: protobuf is not installed.
        ValueError: a number that its type does not hold.
    """
    message = _message()()
    if payload.timestamp_ms is not None:
        message.timestamp = payload.timestamp_ms
    for metric in payload.metrics:
        _write(message.metrics.add(), metric, payload.timestamp_ms)
    if payload.seq is not None:
        message.seq = payload.seq
    return cast(bytes, message.SerializeToString())


def decode(data: bytes) -> Payload:
    """A payload from bytes.

    Raises:
        MissingExtraError: protobuf is not installed.
        ValueError: not a Sparkplug B payload.
    """
    message = _message()()
    try:
        message.ParseFromString(data)
        return Payload(
            tuple(_metrics(message.metrics)),
            message.timestamp if message.HasField("timestamp") else None,
            message.seq if message.HasField("seq") else None,
        )
    except Exception as error:  # protobuf's own, and its text that is no UTF-8
        raise ValueError(f"expected a Sparkplug B payload, got {data[:20]!r}: {error}") from error


def _write(field: Any, metric: Metric, timestamp_ms: int | None) -> None:
    if metric.name is not None:
        field.name = metric.name
    if metric.alias is not None:
        field.alias = metric.alias
    if timestamp_ms is not None:
        field.timestamp = timestamp_ms
    if metric.datatype:
        field.datatype = metric.datatype
    if metric.value is None:
        field.is_null = True
    elif metric.datatype == INT64:
        value = cast(int, metric.value)
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"expected a signed number of 64 bits, got {value}")
        field.long_value = value % (1 << _UINT64_BITS)
    elif metric.datatype == UINT64:
        field.long_value = metric.value
    elif metric.datatype == BOOLEAN:
        field.boolean_value = metric.value
    else:
        field.string_value = metric.value


def _metrics(fields: Iterable[Any]) -> Iterable[Metric]:
    for field in fields:
        kind = field.WhichOneof("value")
        value = None if kind is None or field.is_null else getattr(field, kind)
        if type(value) is int:
            value = _signed(value, field.datatype, kind)
        name = field.name if field.HasField("name") else None
        # What is no UTF-8 comes as bytes instead of an error.
        if isinstance(name, bytes) or (kind == "string_value" and isinstance(value, bytes)):
            raise ValueError("text that is no UTF-8")
        yield Metric(
            value,
            field.datatype,
            name,
            field.alias if field.HasField("alias") else None,
        )


def _signed(value: int, datatype: int, kind: str) -> int:
    """A signed type travels as the unsigned number with the same bits."""
    if datatype not in _BITS:
        return value
    bits = _UINT64_BITS if kind == "long_value" else _UINT32_BITS
    return value - (1 << bits) if value >> (bits - 1) else value


@cache
def _message() -> Any:
    try:
        from google.protobuf import (  # type: ignore[import-untyped]  # it brings no types
            descriptor_pb2,
            descriptor_pool,
            message_factory,
        )
    except ImportError as error:
        raise MissingExtraError("a link over Sparkplug B", "industrial") from error
    file = descriptor_pb2.FileDescriptorProto(
        name="beltsight/sparkplug_b.proto", package="beltsight.sparkplug", syntax="proto2"
    )
    optional, repeated = 1, 3
    payload, metric = file.message_type.add(name="Payload"), file.message_type.add(name="Metric")
    for name, number, kind in _PAYLOAD:
        field = payload.field.add(name=name, number=number, type=kind, label=optional)
        if kind == _MSG:
            field.label, field.type_name = repeated, ".beltsight.sparkplug.Metric"
    metric.oneof_decl.add(name="value")
    for name, number, kind in _METRIC:
        field = metric.field.add(name=name, number=number, type=kind, label=optional)
        if number >= 10:
            field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()  # of its own: another library may bring the same names
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("beltsight.sparkplug.Payload")
    )
