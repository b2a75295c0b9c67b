"""Which RLBench, PyRep and CoppeliaSim are installed, for whoever wants to make the same demonstrations again. Imports none of them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path


def versions() -> dict[str, str]:
    """``rlbench`` and ``pyrep`` with the commit where pip knows it, ``coppeliasim`` where its folder's name tells it.

    What pip does not know, such as a clone on PYTHONPATH, says its version itself where it is loaded.
    """
    told = {}
    for package in ("rlbench", "pyrep"):
        try:
            found = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            version = getattr(sys.modules.get(package), "__version__", None)
            told.update({package: str(version)} if version else {})
            continue
        told[package] = found.version
        commit = json.loads(found.read_text("direct_url.json") or "{}").get("vcs_info", {}).get("commit_id")
        if commit:
            told[f"{package}_commit"] = commit
    number = re.search(r"V?(\d+)_(\d+)_(\d+)", Path(os.environ.get("COPPELIASIM_ROOT", "")).name)
    if number:
        told["coppeliasim"] = ".".join(number.groups())
    return told
