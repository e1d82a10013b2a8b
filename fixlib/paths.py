"""Where the project's files lie.

Notebooks, tests and commands start in different folders, so nothing is looked up relative to the current one
unless there is nothing better.
"""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The project's folder: ``FIXLIB_ROOT``, else the checkout that holds the package, else the current
    folder.

    Raises:
        FileNotFoundError: ``FIXLIB_ROOT`` names a folder that does not exist.
    """
    if os.environ.get("FIXLIB_ROOT"):
        folder = Path(os.environ["FIXLIB_ROOT"]).expanduser().resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"FIXLIB_ROOT is {folder}, which is not a folder: correct it or unset it")
        return folder
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def data_dir() -> Path:
    """The folder of downloads and prepared data: ``FIXLIB_DATA``, else ``root()/data``; need not exist."""
    if os.environ.get("FIXLIB_DATA"):
        return Path(os.environ["FIXLIB_DATA"]).expanduser().resolve()
    return root() / "data"
