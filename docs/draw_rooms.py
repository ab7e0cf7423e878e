"""Draws the rooms and their imports, from the code, into docs/architecture.md: ``make picture``."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import grimp
import networkx

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bdistil"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)
GROUND = "ground floor"  # the loose modules errors, optional, version and the like
LOOSE = {"__main__": "cli"}


def draw() -> str:
    """The picture as a block of Mermaid: rooms with their lines, and an arrow for an import.

    Arrows that follow from others are left out. Those that point up, which `ignore_imports` in
    pyproject.toml excuses until they are mended, are dotted.
    """
    graph = grimp.build_graph("bdistil", cache_dir=None)
    modules = [module for module in graph.modules if module.count(".")]
    imports = [(a, b) for a in modules for b in graph.find_modules_directly_imported_by(a)]
    excused = {(room_of(a), room_of(b)) for a, b in excused_imports()}
    edges = {(room_of(a), room_of(b)) for a, b in imports if b != "bdistil"} - excused
    rooms = networkx.DiGraph((a, b) for a, b in edges if a != b)
    arrows = sorted(networkx.transitive_reduction(rooms).edges)
    return "\n".join(
        [
            "```mermaid",
            "flowchart TD",
            *(f'    {name_of(room)}["{label}"]' for room, label in sorted(labels(rooms).items())),
            *(f"    {name_of(a)} --> {name_of(b)}" for a, b in arrows),
            *(f"    {name_of(a)} -.-> {name_of(b)}" for a, b in sorted(excused)),
            "```\n",
        ]
    )


def excused_imports() -> list[list[str]]:
    """Pairs of importing and imported module that the layers contract lets pass for now."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]
    return [edge.split(" -> ") for edge in layers.get("ignore_imports", ())]


def room_of(module: str) -> str:
    """The room of a module: its folder, or what a loose module is drawn as."""
    part = module.split(".")[1]
    return part if (PACKAGE / part).is_dir() else LOOSE.get(part, GROUND)


def labels(rooms: networkx.DiGraph) -> dict[str, str]:
    """What stands in each room's box."""
    lines: Counter[str] = Counter()
    for file in PACKAGE.rglob("*.py"):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        lines[room_of(module)] += file.read_text().count("\n")
    return {room: f"<b>{room}</b><br>{max(100, round(lines[room], -2)):,} lines" for room in rooms}


def name_of(room: str) -> str:
    """A room as Mermaid's identifiers are written."""
    return room.replace(" ", "_")


def main() -> None:
    """Put the picture in the place of the last one."""
    PAGE.write_text(PICTURE.sub(lambda _: draw(), PAGE.read_text()))


if __name__ == "__main__":
    main()
