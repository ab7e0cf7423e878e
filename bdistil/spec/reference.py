"""What people and editors know of a spec, from its models: docs/spec.md and a JSON schema.

``python -m bdistil.spec.reference docs`` (``make reference``) writes both anew.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from bdistil.spec.space import DIMENSIONS
from bdistil.spec.whole import Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> str:
    """The JSON schema of a spec, by which editors complete and check YAML files."""
    return json.dumps({"$schema": DIALECT, **Spec.model_json_schema()}, indent=2) + "\n"


def with_reference(page: str) -> str:
    """The Markdown page with everything from its first section on written anew from the models."""
    introduction = page.partition("\n## ")[0].rstrip()
    return "\n\n".join([introduction, *sections(Spec.model_json_schema())]) + "\n"


def sections(whole: dict[str, Any]) -> list[str]:
    """A heading, the model's words and a table of its fields for each section of a spec."""
    fields, models = whole["properties"], whole["$defs"]
    parts = {name: models[model] for name, field in fields.items() if (model := model_of(field))}
    top = {name: field for name, field in fields.items() if name not in parts}
    found = [f"## (top)\n\n{table(top, ())}"]
    for name, part in parts.items():
        words = " ".join(part["description"].split())
        dimensions = DIMENSIONS if name == "space" else ()
        found.append(f"## {name}\n\n{words}\n\n{table(part['properties'], dimensions)}")
    return found


def model_of(field: dict[str, Any]) -> str | None:
    """The model of a field that is a section, also where it may be left out."""
    kinds = (field, *field.get("anyOf", ()))
    return next((each["$ref"].rpartition("/")[2] for each in kinds if "$ref" in each), None)


def table(fields: dict[str, Any], dimensions: tuple[str, ...]) -> str:
    """Fields as a Markdown table."""
    rows = ["| field | default | meaning |", "|---|---|---|"]
    for name, field in fields.items():
        default = json.dumps(field["default"]).strip('"')
        kind = " *(dimension)*" if name in dimensions else ""
        rows.append(f"| `{name}` | {default} | {meaning(field)}{kind} |")
    return "\n".join(rows)


def meaning(field: dict[str, Any]) -> str:
    """The description, with choices that it leaves out and links to other pages."""
    words = " ".join(field["description"].split())
    kinds = (field, *field.get("anyOf", ()))
    choices = [f"`{choice}`" for kind in kinds for choice in kind.get("enum", ())]
    if not all(choice in words for choice in choices):
        words += "; one of " + ", ".join(choices)
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", words)


def write(folder: Path) -> None:
    """Write the folder's spec.md and spec.schema.json anew."""
    page = folder / "spec.md"
    page.write_text(with_reference(page.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "spec.schema.json").write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
