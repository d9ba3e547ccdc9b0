"""`python -m reasonrl.cli`: the command line of this very Python, whatever is on the path."""

from __future__ import annotations

from reasonrl.cli.app import main

main()
