"""Dockerfiles: whatever can be known without Docker; bash takes the scripts."""

import subprocess

import pytest

from core.errors import ConfigError
from deploy import docker
from tests.deploy.some import KINDS, SMALL


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_run_has_its_images_the_same_every_time(kind):
    files = docker.render(KINDS[kind], docker.Options())
    assert files == docker.render(KINDS[kind], docker.Options())
    assert ("Dockerfile.rlbench" in files) is (kind == "outside")
    assert all(f"{name}.dockerignore" in files for name in files if name in ("Dockerfile.learner", "Dockerfile.simulator"))
    for text in files.values():
        assert "@{" not in text
        if text.startswith("#!"):
            assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    for name, text in files.items():  # what is copied is not ignored
        if not name.endswith(("ignore", ".sh")):
            kept = files[f"{name}.dockerignore"].splitlines()
            copied = [source for word, rest in docker.instructions(text) if word == "COPY" for source in rest.split()[:-1]]
            assert all(any(source.startswith(line[1:]) for line in kept if line.startswith("!")) for source in copied), name


def test_the_packages_copied_are_those_of_the_project():
    import tomllib

    project = tomllib.loads((docker.CHECKOUT / "pyproject.toml").read_text())
    assert sorted(docker.PACKAGES) == sorted({name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]})


def test_coppeliasim_is_nowhere_in_an_image_by_itself():
    text = docker.render(KINDS["outside"], docker.Options())["Dockerfile.rlbench"]
    assert (
        "ARG COPPELIASIM_URL=\n" in text
        and "sha256sum -c" in text
        and not [line for line in text.splitlines() if "http" in line and "sim.zip" in line]
    )
    assert [rest for word, rest in docker.instructions(text) if word == "COPY"] == [
        "outpost /opt/outpost",
        "deploy/templates/rlbench_entrypoint.sh /usr/local/bin/outpost",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not begin with FROM"),
        ("RUN true\nFROM a:1\n", "does not begin with FROM"),
        ("FROM python\n", "names no version"),
        ("FROM python:latest\n", "names no version"),
        ("FROM a:1\nRUNN x\n", "RUNN is no instruction"),
        ("FROM a:1\nCOPY core nowhere /x\n", "COPY nowhere"),
    ],
)
def test_a_mistake_is_refused(text, said):
    with pytest.raises(ConfigError) as error:
        docker.check("Dockerfile.x", text, docker.CHECKOUT)
    assert said in str(error.value)


@pytest.mark.parametrize("options", [{"base": "python"}, {"base": "python:slim"}, {"rlbench_base": "ubuntu:latest"}, {"tag": "latest"}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError, match="Allowed"):
        docker.Options(**options)


def test_lines_that_go_on_are_one_instruction():
    assert docker.instructions("FROM a:1\n# x\nRUN a && \\\n    b\n") == [("FROM", "a:1"), ("RUN", "a &&  b")]
    assert docker.render(SMALL, docker.Options())
