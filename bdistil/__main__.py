"""``python -m bdistil``: the same as the console script."""

from bdistil.cli.entry import main

main()
