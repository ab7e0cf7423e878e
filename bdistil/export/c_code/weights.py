"""The weights of all stages as arrays of constants."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from bdistil.export.c_code.literals import array, float_literal


class Weights:
    """Arrays of constants; those with the same values are kept once."""

    def __init__(self) -> None:
        self._arrays: dict[bytes, tuple[str, Tensor]] = {}
        self._names: set[str] = set()

    def add(self, name: str, tensor: Tensor) -> str:
        """The name of a tensor's array."""
        values = tensor.detach().float().contiguous()
        content = values.numpy().tobytes()
        if content not in self._arrays:
            while name in self._names:
                name += "_"
            self._names.add(name)
            self._arrays[content] = name, values
        return self._arrays[content][0]

    @property
    def floats(self) -> int:
        """How many there are."""
        return sum(values.numel() for _, values in self._arrays.values())

    def arrays(self) -> Iterable[str]:
        """Their definitions."""
        for name, values in self._arrays.values():
            sizes = " x ".join(map(str, values.shape)) or "1"
            literals = map(float_literal, values.flatten().tolist())
            yield f"/* {sizes} */\n" + array(f"float {name}[{values.numel()}]", literals)
