"""What ``manyhands doctor`` asks of our own packages: how fast and how exact this CPU multiplies matrices."""

from manyhands.doctor import Check


def matmul_check() -> Check:
    """The learner's own start-up probe; there is nothing to repair, but it tells what to expect."""
    from learner.precision import probe

    return Check("matmul", "ok", probe().describe())
