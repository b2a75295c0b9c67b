"""``manyhands deploy``: from a run's settings to facts, from these to files for a cluster, all checked before any is written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import ConfigError
from deploy import crd, docker, files, kuberay, monitoring, redis, slurm
from deploy.facts import GIB, Facts
from manyhands.config import RunConfig
from manyhands.deploy_arguments import DeployArguments
from simulators import hooks

IN_CLUSTER = {"backend": "ray", "cluster.address": "auto", "cluster.actors": "simulator"}
"""settings by which a run's components spread over the cluster that it is started in, where this version has them"""


def deploy(options: DeployArguments) -> Iterator[str]:
    """Renders, checks, writes or shows. Yields lines for a person."""
    made = rendered(options, facts_of(options))
    if options.extra.out is None:
        for name, text in made.items():
            yield f"# ----- {name}"
            yield text
        return
    for path in files.write(made, options.extra.out, force=options.extra.force):
        yield str(path)


def rendered(options: DeployArguments, facts: Facts) -> dict[str, str]:
    """File name -> text.

    Raises:
        ConfigError: sizes or options that cannot be.
    """
    extra, own = options.extra, options.options
    if extra.crd and options.target != "kuberay":
        raise ConfigError(f"--crd has no meaning for {options.target}: it goes with kuberay")
    if extra.role != "auto" and options.target != "redis":
        raise ConfigError(f"--role has no meaning for {options.target}: it goes with redis")
    if options.target == "redis":
        least = redis.gateway_memory_mib(facts, options.config.gateway.window) if facts.clients else own.memory_mib
        return redis.render(facts, replace(own, memory_mib=max(own.memory_mib, least)), extra.role)
    made = {"kuberay": kuberay, "slurm": slurm, "docker": docker, "monitoring": monitoring}[options.target].render(facts, own)
    if extra.crd:
        _check_crd(made, extra.crd)
    return made


def _check_crd(made: dict[str, str], path: Path) -> None:
    known = crd.read_crds(path)
    for name, text in made.items():
        if name.startswith("ray"):
            crd.check_crd(files.parse_yaml(text), known)


def facts_of(options: DeployArguments) -> Facts:
    """What the files depend on.

    Raises:
        ConfigError: a password among the settings, GPUs that do not go with the learner, simulators that are not installed here.
    """
    config, nodes = options.config, options.nodes
    _check(config, nodes.gpu_share)
    actor = _processes(config, nodes.simulator_cpus if options.target != "slurm" else options.options.node_cpus - nodes.learner_cpus)
    return Facts(
        preset=config.preset,
        settings=options.settings,
        seeds=options.seed_list(),
        simulators=tuple(dict.fromkeys(task.partition(":")[0] for task in config.tasks)),
        actors=config.actors.actors,
        processes=actor,
        replay_bytes=round(options.extra.replay_gib * GIB) or _replay_bytes(config),
        spill=config.replay.spill,
        clients=config.gateway.clients,
        nodes=nodes,
        fixed=_fixed(config, options.settings, actor, nodes.learner_cpus),
    )


def _check(config: RunConfig, gpu_share: float) -> None:
    url = config.gateway.url
    if not url.startswith("@") and urlsplit(url).password:
        raise ConfigError(
            "gateway.url has a password, which would be in files for everyone. Fix: --gateway.url @FILE, with the address in it"
        )
    if gpu_share and config.learner.device == "cpu":
        raise ConfigError(f"nodes.gpu-share is {gpu_share} and learner.device cpu. Fix: --nodes.gpu-share 0, or --learner.device auto")
    if gpu_share and config.learner.ranks > max(1, round(gpu_share)):
        raise ConfigError(f"learner.ranks is {config.learner.ranks}, a GPU for each. Fix: --nodes.gpu-share {config.learner.ranks}")


def _processes(config: RunConfig, cores: int) -> int:
    """That step simulators, of an actor on a node with so many cores."""
    settings, K = config.actors, len(config.tasks)
    if not settings.actors:
        return 1
    names = [config.tasks[task] for task in settings.tasks_of(0, K) for _ in range(settings.simulators)]
    wanted = settings.processes or max(1, min(settings.slots(K), cores))
    return hooks.processes(names, [config.simulator_options] * len(names), wanted)


def _replay_bytes(config: RunConfig) -> int:
    from manyhands import build
    from replay.memory import required_bytes

    return required_bytes(*build.ring_size(config, build.task_spec(config)))


def _fixed(config: RunConfig, settings: tuple[str, ...], processes: int, learner_cpus: int) -> tuple[str, ...]:
    """In a container a process sees all cores of its machine, not those that it may use: what would go by them is said."""
    said = {word[2:].partition("=")[0].replace("_", "-") for word in settings if word.startswith("--")}
    wanted: dict[str, str] = dict(IN_CLUSTER)
    if config.actors.actors:
        wanted["actors.processes"] = str(processes)
    if not config.evaluation.processes:
        wanted["evaluation.processes"] = str(max(1, learner_cpus // 4))
    if not config.learner.threads:
        wanted["learner.threads"] = str(max(1, learner_cpus - 1))
    return tuple(word for name, value in wanted.items() if name not in said for word in (f"--{name}", value))
