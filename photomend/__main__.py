"""``python -m photomend`` is the ``photomend`` command."""

from photomend.cli import main

main()
