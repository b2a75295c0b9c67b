"""The outpost runs where Python is 3.8 and little is installed: syntax, imports, and its own packaging."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "outpost").rglob("*.py"))
IN_ONE_FILE = {"rlbench", "pyrep", "redis", "msgpack"}
OLD = shutil.which("python3.8") or ""
WORKS = bool(OLD) and not subprocess.run([OLD, "-c", ""], stderr=subprocess.DEVNULL).returncode
"""What is on the path may stand for a Python that is not there."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_python_3_8(path):
    ast.parse(path.read_text(), feature_version=(3, 8))
    assert "from __future__ import annotations" in path.read_text(), "so that its annotations may be of a later Python"


def test_only_numpy_and_a_few_packages_in_one_file_each_are_imported():
    where: dict[str, set[Path]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "outpost"] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                where.setdefault(name.split(".")[0], set()).add(path)
    others = set(where) - set(sys.stdlib_module_names) - {"outpost", "numpy"}
    assert others <= IN_ONE_FILE
    assert [name for name in others if len(where[name]) > 1] == []


def test_all_of_it_is_in_its_own_package_list():
    listed = tomllib.loads((ROOT / "outpost" / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted({str(path.parent.relative_to(ROOT)).replace("/", ".") for path in FILES})


@pytest.mark.skipif(not WORKS, reason="there is no python3.8 here")
def test_an_old_python_compiles_it():
    code = "import sys; [compile(open(path).read(), path, 'exec') for path in sys.argv[1:]]"
    subprocess.run([OLD, "-W", "error", "-c", code, *map(str, FILES)], check=True)
