"""What each command takes, as dataclasses that tyro reads; a mistake becomes one line, not a box."""

import contextlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from core.errors import ConfigError
from manyhands import presets
from manyhands.placement import Placement, devices_of, place

if TYPE_CHECKING:
    from manyhands.config import RunConfig

AT_ONCE = "seeds at the same time, each in a process of its own; 0: as many as there are cores; 1: one after the other, in this process"
STACK = "seeds that share one learner process, at most; 0: each has its own; auto: all of a GPU share one, on a CPU each has its own"
T = TypeVar("T")
R = TypeVar("R", bound="ShowArguments")
PLAIN = (
    (r"invalid literal for int\(\) with base 10: ('.*?')", r"\1 is not a whole number"),
    (r"could not convert string to float: ('.*?')", r"\1 is not a number"),
    (r"no type matching \{None\}\|INT could be instantiated from \[('.*?')\]\..*(?= --)", r"\1 is not a whole number"),
    (r"(?<=number) (?=--)", ": "),
    (r"^Error parsing ", ""),
)
"""What tyro says of a wrong type, and what is meant."""


def runs_root() -> Path:
    return Path(os.environ.get("MANYHANDS_RUNS", "runs"))


@dataclass(frozen=True)
class NoArguments:
    """Takes nothing."""


@dataclass(frozen=True)
class RunsArguments:
    """All runs."""

    runs: Path = field(default_factory=runs_root)
    """folder that holds the runs"""


@dataclass(frozen=True)
class DoctorArguments(RunsArguments):
    """What this machine has and lacks."""

    sim: str = ""
    """a simulator, or one of its tasks, to examine instead: rlbench, metaworld, gym:Pendulum-v1. It is made, reset and stepped"""


@dataclass(frozen=True)
class ShowArguments:
    """One run."""

    run: tyro.conf.Positional[str]
    """id, or its unique beginning or ending"""
    runs: Path = field(default_factory=runs_root)
    """folder that holds the runs"""


@dataclass(frozen=True)
class ResumeArguments(ShowArguments):
    """Go on from a checkpoint."""

    step: int | None = None
    """which checkpoint; the newest by default"""
    device: str = ""
    """where to learn until this call ends: auto, cpu, cuda, cuda:N; as the run was told by default"""
    force: bool = False
    """also if the run looks as if it were running on another machine"""
    ray_address: str | None = None
    """for this call: of the Ray cluster that this machine is a node of, HOST:PORT or auto; '' for a private one. As the run was told by
    default"""
    memory_fraction: float | None = None
    """for this call: on CUDA, the share of the GPU's memory that the learner may take"""
    cluster: str = ""
    """hand the run to this cluster instead, as `manyhands launch` does, and return"""
    python: str = "python"
    """the cluster's Python that has manyhands; where the address is http://"""


@dataclass(frozen=True)
class EvalArguments(RunsArguments):
    """A run's policy on fresh goals or on a protocol; or, with --policy, one that needs no training on a protocol."""

    name: tyro.conf.Positional[str] = ""
    """a run: id, or its unique beginning or ending. With --policy, a protocol: mt10, mt50, ml10, ml45, mt1-TASK, ml1-TASK"""
    policy: Literal["trained", "scripted", "random", "zero"] = "trained"
    """trained is the run's; scripted are Meta-World's experts, random acts uniformly, zero does not move"""
    protocol: str = ""
    """for a run: all goals of this protocol, each as often as it says, instead of fresh ones"""
    setting: Literal["v3", "2019"] | None = None
    """of the protocol, v3 by default; 2019: horizon 150, reward v1, one goal per task in MT"""
    goals: int | None = None
    """of a protocol, per task: the first so many; all by default"""
    seed: int = 0
    """of fresh goals, which differ from those of training whatever it is; of actions that are sampled or random"""
    episodes: int | None = None
    """on fresh goals, per task; 50 by default"""
    which: Literal["best", "last"] = "best"
    """policy of the run's best evaluation, or of its end"""
    step: int | None = None
    """of the run: which checkpoint; the newest by default"""
    sampled: bool = False
    """the run's policy acts with its noise, as in training"""
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """that play side by side"""
    out: Path | None = None
    """every episode, one JSON object per line; those of a run are also in its folder"""

    def check(self) -> None:
        """Raises ConfigError where options do not go together or cannot be."""
        from protocols.metaworld import names

        if not self.name:
            raise ConfigError("eval needs a run, an id from `manyhands runs`; or, with --policy scripted, a protocol: mt10, mt50, ml10 ...")
        trained, fresh = self.policy == "trained", self.policy == "trained" and not self.protocol
        if trained and self.name in names():
            wanted = f"manyhands eval --policy scripted {self.name}, or manyhands eval RUN --protocol {self.name}"
            raise ConfigError(f"{self.name} is a protocol, not a run. Allowed: {wanted}")
        of_a_run = {"--protocol": self.protocol, "--step": self.step, "--sampled": self.sampled, "--which": self.which != "best"}
        of_a_protocol = {"--setting": self.setting, "--goals": self.goals}
        for allowed, needs, options in (
            (trained, "a run, not --policy", of_a_run),
            (fresh, "a run without --protocol", {"--episodes": self.episodes}),
            (not fresh, "--protocol, or --policy with one", of_a_protocol),
        ):
            given = [option for option, value in options.items() if value not in (None, "", False)]
            if given and not allowed:
                raise ConfigError(f"{given[0]} has no meaning here: it goes with {needs}")
        for option, value, least in (("episodes", self.episodes, 1), ("seed", self.seed, 0), ("processes", self.processes, 1)):
            if value is not None and value < least:
                raise ConfigError(f"--{option} is {value}. Allowed: {least} and up")


def seed_list(text: str, default: int) -> list[int]:
    """``0-4`` -> 0, 1, 2, 3, 4; ``0,3`` -> 0, 3; empty -> the default.

    Raises:
        ConfigError: it says something else.
    """
    if not text:
        return [default]
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise ConfigError(f"--seeds is {text!r}; write 0-4, or 0,3,7")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds is {text!r}; write each seed once")
    return seeds


class TrainArguments:
    """The parsed command line of ``train``."""

    config: "RunConfig"
    seeds: str
    at_once: int
    stack: str
    devices: str
    per_device: int
    dry_run: bool
    runs: Path

    def __init__(self, parsed: Any) -> None:
        vars(self).update({name: getattr(parsed, name) for name in TrainArguments.__annotations__})

    def seed_list(self) -> list[int]:
        """``0-4`` -> 0, 1, 2, 3, 4; ``0,3`` -> 0, 3; empty -> the seed of the settings."""
        return seed_list(self.seeds, self.config.seed)

    def placement(self) -> Placement | None:
        """Where each seed goes; None: in this process, one after the other.

        Raises:
            ConfigError: options that cannot be, or do not go together.
        """
        stack = self._stack()
        for option, value, least in (("at-once", self.at_once, 0), ("per-device", self.per_device, 1)):
            if value < least:
                raise ConfigError(f"--{option} is {value}. Allowed: {least} and up")
        seeds = self.seed_list()
        if len(seeds) == 1:
            given = {"--at-once": self.at_once > 1, "--stack": (stack or 0) > 1, "--devices": self.devices != "auto"}
            given["--per-device"] = self.per_device > 1
            for option in [option for option, there in given.items() if there]:
                raise ConfigError(f"{option} is for several seeds, --seeds 0-4; here is one, whose device is --learner.device")
            return None
        import torch

        devices = devices_of(self.devices, self.config.learner.device, torch.cuda.device_count())
        placed = place(seeds, devices, sorted(os.sched_getaffinity(0)), stack, self.per_device, self.at_once)
        in_turn = self.at_once == 1 or (not self.at_once and placed.at_once == 1)
        if self.config.learner.ranks > 1 and (devices != ["cpu"] or any(len(group.seeds) > 1 for group in placed.groups)):
            raise ConfigError(
                f"learner.ranks is {self.config.learner.ranks}, several processes for one seed, which stacks and GPUs dealt out to seeds "
                "exclude; fix: train the seeds one by one, --seed 0, or with --devices cpu and without --stack"
            )
        return None if in_turn and devices == ["cpu"] and self.devices == "auto" else placed._replace(chosen=self.devices != "auto")

    def _stack(self) -> int | None:
        if self.stack == "auto":
            return None
        if not self.stack.isdecimal():
            raise ConfigError(f"--stack is {self.stack!r}; write auto, or how many seeds one learner may have: 3")
        return int(self.stack)


def parse_train(args: Sequence[str]) -> TrainArguments:
    """The preset is looked up first: its settings and their types are what the rest may change."""
    if not args or args[0].startswith("-"):
        known = ", ".join(presets.names())
        raise ConfigError(f"train needs a preset first: manyhands train PRESET [--seeds 0-4] [--dry-run] ...  Presets: {known}")
    config = presets.find(args[0])
    kind = make_dataclass(
        "Train",
        [
            ("config", Annotated[type(config), tyro.conf.arg(name="")], config),
            ("seeds", Annotated[str, tyro.conf.arg(help="several runs: 0-4, or 0,3,7")], ""),
            ("at_once", Annotated[int, tyro.conf.arg(help=AT_ONCE)], 0),
            ("stack", Annotated[str, tyro.conf.arg(help=STACK)], "auto"),
            ("devices", Annotated[str, tyro.conf.arg(help="of the seeds' learners: auto, cpu, or GPUs: 0,1,3")], "auto"),
            ("per_device", Annotated[int, tyro.conf.arg(help="learner processes at the same time on one GPU")], 1),
            ("dry_run", bool, False),
            ("runs", Path, runs_root()),
        ],
        frozen=True,
    )
    kind.__doc__ = presets.summary(args[0])
    parsed = TrainArguments(parse(kind, args[1:], f"train {args[0]}"))
    parsed.config = replace(parsed.config).check()
    parsed.placement()
    return parsed


def parse_run(kind: type[R], args: Sequence[str], command: str) -> R:
    """For the commands that need a run."""
    if not args:
        raise ConfigError(f"{command} needs a run: manyhands {command} RUN, an id from `manyhands runs`, or its unique beginning or ending")
    return parse(kind, args, command)


def parse(kind: type[T], args: Sequence[str], command: str) -> T:
    """tyro's parser with its boxed error folded into one ConfigError."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(kind, args=list(args), prog=f"manyhands {command}")
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise ConfigError(f"{one_line(errors.getvalue())} (see manyhands {command} --help)") from None


def one_line(box: str) -> str:
    """The words of one of tyro's boxes, up to its footer."""
    words = []
    for line in box.splitlines():
        text = line.strip("│ \t")
        if text.startswith(("╭", "╰", "For full helptext", "Argument helptext")) or not text:
            continue
        if set(text) == {"─"}:
            continue
        words.append(text)
    told = " ".join(words)
    for said, meant in PLAIN:
        told = re.sub(said, meant, told)
    return told
