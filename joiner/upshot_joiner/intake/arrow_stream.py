"""An Arrow IPC stream that somebody sent, read within limits and checked before anything is looked at.

A small stream can stand for a large table: its buffers may be compressed, a dictionary or a string view may name one long text a
million times, and a column of nulls takes no bytes at all. So what a stream would become is counted before it becomes that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.intake.body import too_large
from upshot_joiner.intake.decoded import check_count

BYTES_PER_CELL = 8
"""A cell counts as that many bytes at least: it is a Python object before it is a row."""

_MALFORMED = (pa.ArrowException, ValueError, OSError, KeyError, IndexError, MemoryError, OverflowError, struct.error)


class MalformedError(Exception):
    """The bytes are no Arrow IPC stream."""


def read(
    content: bytes, check_schema: Callable[[pa.Schema], None], *, room: int, limit: int, items: int = 0
) -> tuple[pa.Table, int]:
    """The rows of a stream as a table of one chunk without dictionaries and views, and how many bytes they count as.

    ``room`` is what of the body's ``limit`` (bytes) is left, ``items`` how many rows came before. Raises
    :class:`MalformedError`, and a 413 ``Problem`` for a stream over one of the limits; ``check_schema`` may raise what it likes.
    """
    try:
        _check_compressed_buffers(content, room, limit)
        reader = pa.ipc.open_stream(pa.BufferReader(content), options=pa.ipc.IpcReadOptions(use_threads=False))
        schema = reader.schema
        names = schema.names
    except _MALFORMED as error:
        raise MalformedError from error
    check_schema(schema)
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    while True:
        try:
            batch = reader.read_next_batch()
            batch.validate(full=True)
        except StopIteration:
            break
        except _MALFORMED as error:
            raise MalformedError from error
        rows += batch.num_rows
        check_count(items + rows)
        if not batch.num_rows:
            continue
        size += sum(map(_expanded_bytes, batch.columns))
        if size > room:
            raise too_large(limit)
        batches.append(pa.RecordBatch.from_arrays([_plain(column) for column in batch.columns], names))
    if not batches:
        return schema.empty_table(), 0
    return pa.Table.from_batches(batches).combine_chunks(), size


def _expanded_bytes(column: pa.Array) -> int:
    """How many bytes the cells of a column count as."""
    kind = column.type
    cells = len(column)
    if isinstance(kind, pa.BaseExtensionType):
        return _expanded_bytes(column.storage)
    if pa.types.is_dictionary(kind):
        values = column.dictionary
        if _is_text(values.type) and cells:
            lengths = _lengths(values).take(column.indices)
            return BYTES_PER_CELL * cells + (pc.sum(lengths).as_py() or 0)
        return BYTES_PER_CELL * cells
    if _is_text(kind):
        return BYTES_PER_CELL * cells + (pc.sum(_lengths(column)).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return BYTES_PER_CELL * cells + _expanded_bytes(column.flatten())
    if pa.types.is_map(kind):
        return BYTES_PER_CELL * cells + _expanded_bytes(column.keys) + _expanded_bytes(column.items)
    if pa.types.is_struct(kind):
        return BYTES_PER_CELL * cells + sum(map(_expanded_bytes, column.flatten()))
    return BYTES_PER_CELL * cells


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _lengths(texts: pa.Array) -> pa.Array:
    """How many bytes each text has, as int64."""
    if pa.types.is_string_view(texts.type) or pa.types.is_binary_view(texts.type):
        # A view is 16 bytes, the first four of them the length; pyarrow has no kernel for it.
        _, views = texts.buffers()[:2]
        lengths = [length for (length,) in struct.iter_unpack("<i12x", views.slice(16 * texts.offset, 16 * len(texts)))]
        return pc.if_else(texts.is_valid(), pa.array(lengths, pa.int64()), 0)
    return pc.fill_null(pc.binary_length(texts).cast(pa.int64()), 0)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column of this type has after :func:`read`."""
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return pa.large_string()
        return pa.bool_() if kind.extension_name == "arrow.bool8" else plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def _plain(column: pa.Array) -> pa.Array:
    """The column without dictionary and views: what is known to fit."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            texts = [None if value is None else str(UUID(bytes=value)) for value in column.storage.to_pylist()]
            return pa.array(texts, pa.large_string())
        return column.cast(pa.bool_()) if kind.extension_name == "arrow.bool8" else _plain(column.storage)
    if pa.types.is_dictionary(kind):
        values = _plain(column.dictionary)
        return values.take(column.indices)
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    if pa.types.is_string(kind):
        return column.cast(pa.large_string())
    return column


def _check_compressed_buffers(content: bytes, room: int, limit: int) -> None:
    """Add up what the compressed buffers of a stream say they hold. Reading would allocate just that."""
    size = messages = 0
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(content)):
        messages += 1
        check_count(messages)
        if message.type not in ("record batch", "dictionary"):
            continue
        body = message.body
        for offset, length in _compressed_buffers(message.metadata.to_pybytes(), message.type == "dictionary"):
            if length < 8 or body is None:
                continue
            (held,) = struct.unpack("<q", body.slice(offset, 8).to_pybytes())
            size += held if held >= 0 else length  # -1: not compressed, because that was shorter
            if size > room:
                raise too_large(limit)


def _compressed_buffers(metadata: bytes, is_dictionary: bool) -> list[tuple[int, int]]:
    """Offset and length of each buffer of a record batch whose body is compressed; nothing when it is not.

    pyarrow does not tell; the layout is that of FlatBuffers and of Arrow's ``Message.fbs``: the header is field 2 of a
    ``Message``, ``data`` field 1 of a ``DictionaryBatch``, ``buffers`` and ``compression`` fields 2 and 3 of a ``RecordBatch``.
    """

    def number(form: str, at: int) -> int:
        (value,) = struct.unpack_from(form, metadata, at)
        return int(value)

    def field(table: int, position: int) -> int | None:
        vtable = table - number("<i", table)
        slot = 4 + 2 * position
        offset = number("<H", vtable + slot) if slot < number("<H", vtable) else 0
        return table + offset if offset else None

    def followed(at: int | None) -> int:
        if at is None:
            raise MalformedError
        return at + number("<I", at)

    batch = followed(field(number("<I", 0), 2))
    if is_dictionary:
        batch = followed(field(batch, 1))
    if field(batch, 3) is None:
        return []
    vector = followed(field(batch, 2))
    count = number("<I", vector)
    return list(struct.iter_unpack("<qq", metadata[vector + 4 : vector + 4 + 16 * count]))
