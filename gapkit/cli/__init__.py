"""The `gapkit` command: each command reads, asks the library, prints."""

from gapkit.cli.app import main

__all__ = ["main"]
