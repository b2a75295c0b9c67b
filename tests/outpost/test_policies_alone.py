"""The package is what it promises to be: Python 3.8, numpy, and nothing else, with the same outcome."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.algos.made import made, params, seen

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "outpost").rglob("*.py"))

ALONE = """
import sys

class Walls:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"numpy", "outpost", *sys.stdlib_module_names}:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Walls())
"""
ACTS = """
import json
import numpy as np
from outpost import policies

for name in policies.NAMES:
    policies.find(name)
told, folder = json.loads(sys.argv[1]), sys.argv[2]
params = dict(np.load(folder + "/params.npz"))
seen = dict(np.load(folder + "/seen.npz"))
seen["fields"] = dict(np.load(folder + "/fields.npz"))
policy = policies.find(told["name"]).make(told)
actions, carry, columns = policy.act(params, None, seen, None)
np.savez(folder + "/out.npz", actions=actions, **columns)
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_in_the_syntax_of_python_3_8(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body), "annotations are read by no one"


def test_the_walls_hold():
    done = subprocess.run([sys.executable, "-c", ALONE + "import torch"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "torch is not there" in done.stderr


@pytest.mark.parametrize("name", ["c2farm", "c2farm:inferred", "reptile:c2farm"])
def test_where_there_is_nothing_but_numpy_it_acts_alike(name, tmp_path):
    algorithm = made(name, 1)
    own, now = {k: leaf.astype(np.float64) for k, leaf in params(algorithm, algorithm.init([0])).items()}, seen(2, sight=True)
    arrays = {key: value for key, value in now._asdict().items() if key != "fields"}
    for file, what in (("params", own), ("seen", arrays), ("fields", now.fields)):
        np.savez(tmp_path / f"{file}.npz", **what)
    command = [sys.executable, "-c", ALONE + ACTS, json.dumps(algorithm.remote()), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    action, _, columns = algorithm.act(own, None, now, None)
    found = dict(np.load(tmp_path / "out.npz"))
    assert found.pop("actions").tobytes() == action.tobytes()
    assert found.keys() == columns.keys()
    assert all(found[key].tobytes() == columns[key].tobytes() for key in columns)
