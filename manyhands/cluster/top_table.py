"""All runs of a cluster as one table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

COLUMNS = ("run", "node", "status", "env steps", "steps/s", "success", "actors", "restarts", "lag", "MB/s")
LIVE = ("running", "stopping", "waiting", "starting")


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    shown = Table(
        box=None, caption="actors: there, + those that wait for a place; restarts: of the driver, + of actors", caption_justify="left"
    )
    for column in COLUMNS:
        shown.add_column(column, no_wrap=column == "run", justify="left" if column in ("run", "node", "status") else "right")
    for row in rows:
        shown.add_row(*cells(row))
    return shown


def cells(row: Mapping[str, Any]) -> list[str]:
    """One run; what is not known is ``-``, and what belongs to a driver that is not there is not shown."""
    alive = row.get("state") in LIVE
    restarts = _sum(row.get("restarts"), row.get("actor_restarts"))
    actors = _sum(row.get("alive"), row.get("pending")) if alive else "-"
    bandwidth = row.get("bytes_per_s")
    speeds = [
        _number(row.get("steps_per_s"), "{:,.0f}"),
        _success(row.get("success_any")),
        actors,
        restarts,
        _number(row.get("lag"), "{:.0f}"),
    ]
    if not alive:
        speeds[0] = speeds[4] = "-"
    megabytes = _number(bandwidth / 1e6 if bandwidth is not None and alive else None, "{:.2f}")
    return [row["run"], str(row.get("node") or "-"), _status(row), _number(row.get("steps"), "{:,}"), *speeds, megabytes]


def _status(row: Mapping[str, Any]) -> str:
    """The Keeper's state where there is one; why, where something went wrong."""
    state = row.get("state") or row.get("status") or "-"
    wrong = state in ("waiting", "failed", "killed", "ended")
    return f"{state}: {row['reason']}" if wrong and row.get("reason") else state


def _sum(own: float | None, further: float | None) -> str:
    if own is None and further is None:
        return "-"
    return f"{own or 0:.0f}" + (f" + {further:.0f}" if further else "")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _success(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
