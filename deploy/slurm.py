"""Slurm: one job per seed on whole nodes, where Ray is started for its time alone and the run saves before time is up and goes on after it.

All nodes of a job are alike. The first has the learner and Ray's head; all of them step simulators with the cores that are left.
"""

import re
import subprocess
from dataclasses import dataclass

from core.errors import ConfigError
from deploy.facts import LEARNER_BYTES, PROCESS_BYTES, Facts
from deploy.files import template
from deploy.kuberay import _quoted

DIRECTIVE = re.compile(r"#SBATCH --(job-name|array|nodes|ntasks-per-node|cpus-per-task|gpus-per-node|mem|time|output|open-mode|signal"
                       r"|partition|account|requeue|exclusive)(=\S+)?$")  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How the job is queued."""

    time: str = "24:00:00"
    """limit of one stay; the run goes on in the next"""
    node_cpus: int = 32
    """cores of a node"""
    partition: str = ""
    account: str = ""
    save_s: int = 300
    """seconds before the limit at which the run is told to save and stop"""
    environment: str = ".venv/bin/activate"
    """file that the job's shell reads first, so that python is the one with manyhands; seen from where sbatch is called"""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(\d+-)?\d{1,2}:\d{2}:\d{2}", self.time):
            raise ConfigError(f"time is {self.time!r}. Allowed: HH:MM:SS or DAYS-HH:MM:SS")
        if self.save_s < 60:
            raise ConfigError(f"save-s is {self.save_s}. Allowed: 60 and up; Slurm may be a minute late")
        for name in ("partition", "account"):
            if not re.fullmatch(r"[\w,-]*", getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)!r}. Allowed: letters, digits, - and _")
        if not re.fullmatch(r"[\w./~-]+", self.environment):
            raise ConfigError(f"environment is {self.environment!r}. Allowed: a path without spaces")


def render(facts: Facts, options: Options) -> dict[str, str]:
    """``job.sbatch``, checked.

    Raises:
        ConfigError: nodes too small for the learner and one actor.
    """
    text = template(
        "slurm.sh",
        directives="\n".join(f"#SBATCH --{word}" for word in directives(facts, options)),
        environment=options.environment,
        runs=f"{facts.nodes.storage}/{facts.name}",
        simulators=_free(facts, options),
        cpus=options.node_cpus,
        command=_command(facts),
    )
    check(text)
    return {"job.sbatch": text}


def _command(facts: Facts) -> str:
    """With the seed of the array's task, and where to say how it goes."""
    words = list(facts.job("SEED"))
    at = words.index("--")
    told = [*words[:at], "--pid", "PID", "--code", "CODE", *words[at:]]
    holes = {"SEED": '"$seed"', "PID": '"$state/pid"', "CODE": '"$state/code"'}
    return " ".join(holes.get(word) or _quoted(word) for word in told)


def _free(facts: Facts, options: Options) -> int:
    """Cores of the first node that simulators may have."""
    free = options.node_cpus - facts.nodes.learner_cpus
    if facts.actors and free < facts.processes:
        raise ConfigError(
            f"node-cpus is {options.node_cpus}: {facts.nodes.learner_cpus} for the learner leave {free}, an actor has {facts.processes} "
            "simulator processes. Fix: larger nodes, --nodes.learner-cpus, or --actors.processes"
        )
    return free


def nodes(facts: Facts, options: Options) -> int:
    """Of one job: the actors that the first node has no room for go to others."""
    free, each = _free(facts, options) // max(1, facts.processes), options.node_cpus // max(1, facts.processes)
    return 1 + max(0, -(-(facts.actors - free) // each)) if facts.actors else 1


def directives(facts: Facts, options: Options) -> list[str]:
    gpus = max(1, round(facts.nodes.gpu_share)) if facts.nodes.gpu_share else 0
    memory = (LEARNER_BYTES + options.node_cpus * PROCESS_BYTES + facts._replace(nodes=facts.nodes).shm_bytes) // 2**20
    return [
        f"job-name={facts.name}",
        f"array={_ranges(facts.seeds)}",
        f"nodes={nodes(facts, options)}",
        "ntasks-per-node=1",
        f"cpus-per-task={options.node_cpus}",
        *([f"gpus-per-node={gpus}"] if gpus else []),
        f"mem={memory}M",
        f"time={options.time}",
        *([f"partition={options.partition}"] if options.partition else []),
        *([f"account={options.account}"] if options.account else []),
        "exclusive",
        "requeue",
        "open-mode=append",
        f"output={facts.name}-%A_%a.log",
        f"signal=B:USR1@{options.save_s}",
    ]


def _ranges(seeds: tuple[int, ...]) -> str:
    return f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 and seeds == tuple(range(seeds[0], seeds[-1] + 1)) else ",".join(map(str, seeds))


def check(text: str) -> None:
    """Raises ConfigError where it is no script of bash, or has a directive that is misspelt or comes after the first command: Slurm would
    pass over both without a word."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    for i, line in enumerate(lines):
        if line.startswith("#SBATCH") and not (i < first and DIRECTIVE.match(line)):
            raise ConfigError(f"job.sbatch line {i + 1}: {line!r} is no directive that we know, or stands after the first command")
    try:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    except OSError:
        return  # no bash here; where Slurm is there is one
    if done.returncode:
        raise ConfigError(f"job.sbatch: {done.stderr.strip().partition(chr(10))[0]}")
