"""What ``manyhands doctor`` asks of our own packages: how this CPU multiplies, whether Meta-World has its fast step, and is drawn."""

from manyhands.doctor import Check


def matmul_check() -> Check:
    """The learner's own start-up probe; there is nothing to repair, but it tells what to expect."""
    from learner.precision import probe

    return Check("matmul", "ok", probe().describe())


def fast_step_check() -> Check:
    """Compiles the fast step if that has not been done yet."""
    from simulators.metaworld import native

    reason = native.unavailable()
    if reason:
        return Check("fast step", "warn", "Meta-World is stepped by its own environment, 1.3 to 6 times slower, same results", reason)
    return Check("fast step", "ok", f"{len(native.task_index())} tasks of Meta-World, bit for bit")


def pictures_check() -> Check:
    """Tries OpenGL in child processes."""
    from core.errors import ConfigError
    from simulators.metaworld_vision import gl

    try:
        return Check("pictures", "ok", f"metaworld_vision draws by {gl.backend()}")
    except ConfigError as error:
        return Check("pictures", "warn", "metaworld_vision cannot be used", str(error))
