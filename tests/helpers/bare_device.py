"""A Python in which nothing can be imported but what `pip install bdistil` brings."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

BROUGHT = ("bdistil", "numpy", "onnxruntime", "flatbuffers", "google", "packaging")
"""The base dependencies, and what onnxruntime itself depends on."""

DEVICE = f"""
import contextlib, io, json, sys
from importlib.machinery import PathFinder

THERE = {{*{BROUGHT}, *sys.stdlib_module_names}}
BEFORE = {{*sys.modules}}  # what this installation's site hooks have brought
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    find_spec(name, path, target) if name.partition(".")[0] in THERE else None
)

def command(*arguments):
    from bdistil.cli.entry import main
    sys.argv = ["bdistil", *arguments]
    streams = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
    return status, *(stream.getvalue() for stream in streams)

def answer(value):
    print(json.dumps(value))

def strangers():
    return sorted({{name.partition(".")[0] for name in {{*sys.modules}} - BEFORE}} - THERE)

asked = json.loads(sys.argv[1])
"""


def on_device(code: str, asked: Any = None) -> Any:
    """What `code` answers there.

    Args:
        code: calls ``answer`` once, with what JSON knows; it has ``command(*arguments)``, which
            gives status, output and errors of the command line, ``strangers()``, the modules that
            should not be there, and `asked`.
        asked: JSON-able.
    """
    program = [sys.executable, "-c", DEVICE + code, json.dumps(asked)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
