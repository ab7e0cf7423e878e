"""``python -m bdistil``: the same as the console script."""

from bdistil.cli.app import main

main()
