"""The shape of the checkout: layers, packages, sizes, and what may be imported when. Holds pyproject.toml against the files."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import algos

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINTER = PROJECT["tool"]["importlinter"]
TOPS = LINTER["root_packages"]
MODULES = sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))
NOT_SHIPPED = {"tests", "bench", "docs", "build", "dist", "runs"}
LONGEST_FILE, LONGEST_ALGORITHM, LONGEST_FUNCTION = 300, 420, 60


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_imports_keep_to_the_contracts() -> None:
    linter = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run([sys.executable, "-c", linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_independence_contract_names_every_algorithm() -> None:
    (contract,) = (c for c in LINTER["contracts"] if c["type"] == "independence")
    assert sorted(contract["modules"]) == [f"algos.{algorithm}" for algorithm in algos.names()], "add it in pyproject.toml"


def test_every_package_is_listed_and_every_listed_one_is_there() -> None:
    tops = [p for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in NOT_SHIPPED]
    folders = {path.parent for top in tops for path in top.rglob("*.py")}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(name(f).replace("/", ".") for f in folders)
    assert sorted(TOPS) == sorted({name(f).split("/")[0] for f in folders})
    assert not [name(f) for f in folders if not (f / "__init__.py").exists()]


def test_contracts_with_a_list_of_sources_cover_every_package() -> None:
    for contract in LINTER["contracts"]:
        assert contract.get("source_modules", TOPS) == TOPS, contract["name"]


@pytest.mark.parametrize("top", TOPS)
def test_a_package_is_the_one_of_this_checkout(top: str) -> None:
    """``core`` or ``actors`` may also be the name of something else that is installed."""
    assert Path(import_module(top).__file__ or "").parent == ROOT / top


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from manyhands.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    loaded = {module.split(".")[0] for module in done.stderr.split()}
    assert done.returncode == 0 and done.stdout.startswith("usage: manyhands")
    ours = loaded & set(TOPS)
    assert ours == {"core", "manyhands"}
    heavy = {"torch", "ray", "numpy", "scipy", "gymnasium", "mujoco", "metaworld", "tyro", "rich", "tensorboardX"}
    assert not loaded & heavy


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_file_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)) and text.startswith('"""'), "the first line of a file says what it is"
    limit = LONGEST_ALGORITHM if path.parent.name == "algos" else LONGEST_FILE
    assert len(text.splitlines()) <= limit
    long = [f"{f.name}: {f.end_lineno - f.lineno + 1} lines" for f in functions(path) if (f.end_lineno or 0) - f.lineno >= LONGEST_FUNCTION]
    assert not long
