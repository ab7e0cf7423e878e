"""Progressive ensemble distillation, found by a distributed search."""

__version__ = "0.1.0.dev0"
