"""Images: learner (CUDA), simulator (CPU, OpenGL without a screen), and RLBench's, which takes part from outside, through the gateway.

Learner and simulator have the same Python and Ray, as Ray asks. RLBench's has a Python of its own and nothing of ours but ``outpost``.
CoppeliaSim is in none of them: it is mounted, or fetched at build from an address that its user gives, and compared with a SHA-256.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError
from deploy.facts import Facts
from deploy.files import template

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("outpost", "core", "algos", "replay", "simulators", "protocols", "actors", "learner", "deploy", "manyhands")
PINNED = re.compile(r"[\w./-]+:(?!latest\b)[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?|[\w./-]+@sha256:[0-9a-f]{64}")
WORDS = ("FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "ENTRYPOINT", "CMD", "LABEL")


@dataclass(frozen=True)
class Options:
    """What images are made from."""

    base: str = "python:3.11.11-slim-bookworm"
    """of learner and simulator: a Debian with Python 3.11 or 3.12; a whole tag, or a digest"""
    rlbench_base: str = "ubuntu:focal-20240530"
    """of RLBench's: CoppeliaSim 4.1 is made for Ubuntu 20.04"""
    cuda_index: str = "https://pypi.org/simple"
    """where the learner's torch comes from: there it brings CUDA with it, and the machine needs no more than NVIDIA's driver"""
    cpu_index: str = "https://download.pytorch.org/whl/cpu"
    """where the simulators' torch comes from: without CUDA it is far smaller"""
    tag: str = "0.1.0"
    """of the images"""

    def __post_init__(self) -> None:
        for name in ("base", "rlbench_base"):
            if not PINNED.fullmatch(getattr(self, name)):
                raise ConfigError(
                    f"{name.replace('_', '-')} is {getattr(self, name)!r}. Allowed: IMAGE:VERSION, not latest, or IMAGE@sha256:..."
                )
        if not re.fullmatch(r"(?!latest$)\w[\w.-]*", self.tag):
            raise ConfigError(f"tag is {self.tag!r}. Allowed: letters, digits, . _ -, and not latest")


def render(facts: Facts, options: Options) -> dict[str, str]:
    """Dockerfiles, what each leaves out of its build, and the commands that build them from a checkout.

    Raises:
        ConfigError: an image without version; in a checkout, something to be copied that is not there.
    """
    sources = "\n".join(f"COPY {name} {name}" for name in PACKAGES)
    common = {"base": options.base, "sources": sources}
    files = {
        "Dockerfile.learner": template("Dockerfile.learner", **common, index=options.cuda_index),
        "Dockerfile.simulator": template("Dockerfile.simulator", **common, index=options.cpu_index),
    }
    if facts.clients or "rlbench" in facts.simulators:
        files["Dockerfile.rlbench"] = template("Dockerfile.rlbench", base=options.rlbench_base)
    names = [name.removeprefix("Dockerfile.") for name in files]
    for name, text in list(files.items()):
        check(name, text, CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else None)
        kept = (
            ["outpost", "deploy/templates"]
            if name.endswith("rlbench")
            else ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", *PACKAGES]
        )
        files[f"{name}.dockerignore"] = "\n".join(["*", *(f"!{source}" for source in kept), "**/__pycache__"]) + "\n"
    lines = [f'docker build -f "$here/Dockerfile.{name}" -t manyhands-{name}:{options.tag} "$@" "$checkout"' for name in names]
    return files | {"build.sh": template("build.sh", lines="\n".join(lines))}


def check(name: str, text: str, checkout: Path | None = None) -> None:
    """Of what can be known of a Dockerfile without Docker.

    Raises:
        ConfigError: an unknown word, an image without version, a file to be copied that the checkout has not.
    """
    steps = instructions(text)
    if not steps or next(word for word, _ in steps if word != "ARG") != "FROM":
        raise ConfigError(f"{name} does not begin with FROM")
    for word, rest in steps:
        if word not in WORDS:
            raise ConfigError(f"{name}: {word} is no instruction. Allowed: {', '.join(WORDS)}")
        if word == "FROM" and not PINNED.fullmatch(rest.split()[0]):
            raise ConfigError(f"{name}: FROM {rest} names no version")
        if word == "COPY" and checkout:
            for source in rest.split()[:-1]:
                if not (checkout / source).exists():
                    raise ConfigError(f"{name}: COPY {source}: there is no such file in {checkout}")


def instructions(text: str) -> list[tuple[str, str]]:
    """(word, the rest) of each, its lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines())]
