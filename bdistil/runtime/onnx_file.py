"""What an ONNX file may not do: name other files that would be read with it.

Read from the wire format of protocol buffers, so that a device needs no onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator

EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a tensor
INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Messages of onnx.proto in which tensors lie: their fields by number, and what those hold."""
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5


def fault_of(content: bytes) -> str:
    """Why a file is not read: it is no ONNX, or its weights lie in other files, which could be any
    on this machine; empty if all is well.
    """
    try:
        external = _names_files(memoryview(content), "model")
    except (IndexError, ValueError, RecursionError):
        return "it is no ONNX file; export it again"
    if external:
        return "it keeps weights in other files, which are not read; save it in one file"
    return ""


def _names_files(message: memoryview, kind: str) -> bool:
    inner = INNER.get(kind, {})
    for field, wire, value in _fields(message):
        if kind == "tensor":
            if (field, wire) == (EXTERNAL_DATA, LENGTH) or (field == DATA_LOCATION and value):
                return True
        elif wire == LENGTH and field in inner and _names_files(value, inner[field]):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and value of each field; of a number, its bytes without leading zeros."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        wire = key & 7
        if wire == VARINT:
            number, end = _varint(message, place)
            yield key >> 3, wire, memoryview(b"\1" if number else b"")
            place = end
            continue
        if wire == LENGTH:
            size, place = _varint(message, place)
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if wire == EIGHT_BYTES else 4
        else:
            raise ValueError("no such wire type")
        if place + size > len(message):
            raise ValueError("cut off")
        yield key >> 3, wire, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number and where it ends."""
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, place
        if shift > 63:
            raise ValueError("no number is that long")
