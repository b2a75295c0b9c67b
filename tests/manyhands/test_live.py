"""The live view: fits 80 columns, keeps its height, one line per half minute without a terminal, never stops training."""

import math
import re
from io import StringIO

import pytest
from rich.console import Console

from manyhands.live import History, LiveView, Snapshot, line, panel

NOW = Snapshot(
    run="reach-sac-s0-3f2a",
    task="metaworld:reach-v3",
    steps=60_000,
    total_steps=120_000,
    steps_per_s=1234.5,
    updates=59_000,
    updates_per_s=812.2,
    success_any=0.62,
    success_last=0.48,
    episode_return=1234.5,
    replay_fill=0.5,
    replay_rows=60_000,
    policy_lag=1.5,
    bound_by="learner",
    restarts=1,
    eta_s=3725,
    target="ends at success 95%",
    evaluation="success 60% (20 episodes)",
    advice="a smaller network",
)
EMPTY = Snapshot("r", "t", 0, None)
WORST = Snapshot(
    "r" * 90,
    "t" * 90,
    10**12,
    10**12,
    math.nan,
    10**12,
    math.inf,
    math.nan,
    None,
    -1e12,
    2.0,
    10**12,
    math.nan,
    "x" * 90,
    99,
    1e9,
    "y" * 200,
    "e" * 200,
    "a" * 200,
    "w" * 200,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def view(width=80, terminal=True, **options):
    out, clock = StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=width, height=30, color_system=None, **options)
    return LiveView(console, clock), out, clock


def drawn(snapshot, width=80, unicode=True):
    history = History()
    for at in range(50):
        history.add(at / 50)
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(panel(snapshot, history, 61, width, unicode))
    return out.getvalue().splitlines()


def test_the_table_says_it_all():
    text = "\n".join(drawn(NOW))
    for part in (
        "reach-sac-s0-3f2a", "metaworld:reach-v3", "60,000 / 120,000", "50%", "ETA 1:02:05", "1,234 steps/s", "812 updates/s",
        "bound by learner", "any 62%  last 48%", "1,234.5", "59,000 updates", "50% full, 60,000 rows", "policy lag 1.5", "restarts 1",
        "success 60% (20 episodes)", "ends at success 95%", "a smaller network", "0:01:01 elapsed", "▁", "█",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("snapshot", [NOW, EMPTY, WORST])
@pytest.mark.parametrize("width", [40, 80, 100])
@pytest.mark.parametrize("unicode", [True, False])
def test_always_the_same_size(snapshot, width, unicode):
    lines = drawn(snapshot, width, unicode)
    assert len(lines) == 10
    assert {len(text) for text in lines} == {width}


def test_plain_terminals_get_plain_characters():
    for text in drawn(NOW, unicode=False):
        text.strip("╭╮╰╯─│ ").replace("─", "").encode("ascii")  # rich draws the frame, and knows itself what the terminal can show


def test_redraws_in_place_and_leaves_the_last_table():
    live, out, clock = view()
    for steps in range(0, 1000, 100):
        live.update(NOW._replace(steps=steps))
        clock.now += 0.1
    live.update(NOW._replace(steps=7777))
    live.close()
    live.close()
    text = out.getvalue()
    assert 3 <= text.count("╭") < 10  # fewer drawings than calls
    last = re.split(r"\x1b\[2K", text)[-1]
    assert "7,777 / 120,000" in last
    assert last.count("\n") == 10
    assert text.endswith("\x1b[?25h")  # the cursor is back


def test_without_a_terminal_one_line_per_half_minute_and_per_evaluation():
    live, out, clock = view(terminal=False)
    for second in range(100):
        clock.now = float(second)
        live.update(NOW._replace(steps=second, evaluation="success 80%" if second >= 45 else ""))
    live.close()
    lines = out.getvalue().splitlines()
    assert [re.search(r"step (\d+)/", text)[1] for text in lines] == ["0", "30", "45", "75", "99"]
    assert "evaluation: success 80%" in lines[2]
    assert "\x1b" not in out.getvalue()


def test_nothing_shown_nothing_left():
    live, out, _ = view()
    live.close()
    assert out.getvalue() == ""


def test_dumb_terminals_get_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    live, out, _ = view()
    live.update(NOW)
    live.close()
    assert out.getvalue().count("\n") == 1


def test_waiting_for_data_is_told_in_place_of_advice():
    waiting = NOW._replace(bound_by="data", waiting="waiting for data of pick-place-v3 (12 of 400)")
    assert waiting.waiting in "\n".join(drawn(waiting))
    assert NOW.advice not in "\n".join(drawn(waiting))
    assert f"bound by data | {waiting.waiting} | ETA" in line(waiting)


@pytest.mark.parametrize(("rate", "shown"), [(0.08, "12 s/update"), (0.1, "0.1 updates/s"), (0.0, "0.0 updates/s"), (None, "- updates/s")])
def test_slow_updates_are_shown_by_their_length(rate, shown):
    slow = NOW._replace(updates_per_s=rate)
    assert f"| {shown} |" in line(slow)
    assert shown in "\n".join(drawn(slow))


def test_the_line_of_an_unknown_state():
    text = line(EMPTY)
    assert "step 0 | - steps/s" in text
    assert "ETA -" in text
    assert "nan" not in line(WORST)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_lost_terminal_does_not_stop_training(terminal, error, monkeypatch):
    live, out, clock = view(terminal=terminal)
    live.update(NOW)

    def fail(_):
        raise error

    monkeypatch.setattr(out, "write", fail)
    for _ in range(3):
        clock.now += 60
        live.update(NOW._replace(steps=1))
    live.close()


def test_characters_that_cannot_be_written_are_replaced():
    class Ascii(StringIO):
        encoding = "ascii"

        def write(self, text):
            text.encode("ascii")
            return super().write(text)

    out = Ascii()
    with LiveView(Console(file=out, force_terminal=False)) as live:
        live.update(NOW._replace(evaluation="success ≥ 80%"))
    assert "success ? 80%" in out.getvalue()
    terminal = Ascii()
    with LiveView(Console(file=terminal, force_terminal=True, width=80, height=30)) as live:
        live.update(NOW)
    assert "60,000 / 120,000" in terminal.getvalue()


def test_markup_in_names_is_text():
    live, out, _ = view(terminal=False)
    live.update(NOW._replace(evaluation="[bold]x[/nothing]"))
    assert "[bold]x[/nothing]" in out.getvalue()
    assert "[/nothing]" in "\n".join(drawn(NOW._replace(run="a[/nothing]", evaluation="[/nothing]", bound_by="[/nothing]", target="[/b]")))


def test_history_is_bounded_and_spans_the_whole_run():
    history = History(size=8)
    for at in range(1000):
        history.add(at / 1000)
    history.add(None)
    history.add(math.nan)
    assert len(history.points) < 8
    assert history.points == sorted(history.points)
    assert history.points[0] < 0.15
    assert history.points[-1] > 0.7
    assert History().sparkline("ab") == ""
    assert set(history.sparkline("ab")) == {"a", "b"}
