"""What Arrow's schemas tell of a table: an index, names of classes, columns of whole files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bdistil.errors import DataError
from bdistil.optional import require


def unified(schemas: Sequence[Any]) -> Any:
    """The schema of parts below one another.

    Raises:
        DataError: if their columns differ in type.
    """
    pyarrow = require("pyarrow", "table")
    try:
        return pyarrow.unify_schemas(schemas, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise DataError(
            f"the parts differ in the types of their columns ({error}); write them alike."
        ) from None


def is_number(kind: Any) -> bool:
    """Whether a type is of numbers or booleans."""
    types = require("pyarrow", "table").types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def columns_of_lists(schema: Any) -> list[str]:
    """Columns of lists of numbers, or of lists of such lists."""
    return [field.name for field in schema if _is_of_lists(field.type)]


def _is_of_lists(kind: Any, depth: int = 2) -> bool:
    types = require("pyarrow", "table").types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    if not depth or not any(is_kind(kind) for is_kind in kinds):
        return False
    return is_number(kind.value_type) or _is_of_lists(kind.value_type, depth - 1)


def columns_of_bytes(schema: Any) -> list[str]:
    """Columns of bytes, or of structs with a field `bytes`."""
    types = require("pyarrow", "table").types
    fields = {field.name: field.type for field in schema}
    inner = {
        name: kind.field("bytes").type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        else kind
        for name, kind in fields.items()
    }
    kinds = ("is_binary", "is_large_binary", "is_fixed_size_binary", "is_binary_view")
    return [name for name, kind in inner.items() if any(getattr(types, own)(kind) for own in kinds)]


def index_of(schema: Any) -> tuple[list[str], list[str]]:
    """Columns that were the index of a pandas frame; what to say of one that is no column."""
    content = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    entries = content.get("index_columns", [])
    columns = [entry for entry in entries if isinstance(entry, str)]
    ranges = [entry["name"] for entry in entries if isinstance(entry, dict) and entry.get("name")]
    return columns, [f"the index {name!r}, row numbers, is left out" for name in ranges]


def class_names(schema: Any) -> dict[str, list[str]]:
    """What the codes of a column mean, by column, as data sets of the Hugging Face hub keep it."""
    content = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = content.get("info", {}).get("features", {})
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("names")
    }
