"""How often the suites have tried something, counted by themselves.

With ``BDISTIL_TALLY=FILE`` each trial adds to that file; run as a script, this writes the sums into
docs/reliability.md, so that no figure there is typed by hand.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- counted by the suites -->\n", "<!-- end of what was counted -->\n"


def tally(what: str, times: int = 1) -> None:
    """Something was tried so many times, and was right each time."""
    if file := os.environ.get("BDISTIL_TALLY"):
        with Path(file).open("a") as lines:  # whole lines, also from several processes
            lines.write(json.dumps([what, times]) + "\n")


def table(file: Path) -> str:
    """The sums in Markdown."""
    sums: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        what, times = json.loads(line)
        sums[what] += times
    day = datetime.now(UTC).date().isoformat()
    rows = "".join(f"| {what} | {times:,} |\n" for what, times in sorted(sums.items()))
    where = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    return f"One run of them, on {day} ({where}):\n\n| tried | times |\n|---|---|\n{rows}"


def main() -> None:
    """Put the table where the last one is."""
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(Path(sys.argv[1]))}\n{END}{after}")


if __name__ == "__main__":
    main()
