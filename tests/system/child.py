"""A run that was entered by ``tiny.enter``, trained as ``manyhands train`` does it: what the tests kill."""

import sys
from pathlib import Path

from rich.console import Console

from manyhands import build, config_file
from manyhands.registry import Registry
from manyhands.session import _go, prepare


def main(run: str, root: str) -> int:
    registry = Registry(root)
    row = registry.claim(run, force=True)
    config = config_file.load(row.path / "config.json")
    prepare(Path(root))
    return _go(config, build.task_spec(config), registry, row, Console(), resume=False)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
