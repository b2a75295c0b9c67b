"""Runs command lines one after the other in one process, so that torch is loaded once: JSON in, JSON out."""

import contextlib
import io
import json
import sys
import traceback

from manyhands.cli import main


def answer(arguments: list[str]) -> dict[str, object]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = exit_.code or 0
        except Exception:  # noqa: BLE001 - what a person would see
            traceback.print_exc()
            code = 1
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "loaded": sorted(set(sys.modules) & {"torch", "ray", "numpy"})}


if __name__ == "__main__":
    sys.stdout.write(json.dumps([answer(arguments) for arguments in json.load(sys.stdin)]))
