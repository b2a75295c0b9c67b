"""One side of ``bench/pearl_update.py``, in a process of its own (see ``sac_sides.serve``). All run under the same Python and torch.

All begin with the same weights, and say what one update of theirs is (``work``): counted, not assumed. For that all of them make two
updates on the same batch with the same noise.
"""

from typing import Any, NamedTuple

from sac_sides import ACTION, EPISODE, OBS, Data, Mode, Switchable, filled_ring, learner, make_data, serve

GAMMA, TAU, LR, REWARD_SCALE, KL_WEIGHT, REGULAR = 0.99, 0.005, 3e-4, 5.0, 0.1, 1e-3
"""as published; the weight of the KL divergence is of its sum over tasks, REGULAR that of the policy's means and log standard deviations"""
RECENT = 2 * EPISODE
"""newest transitions of a task, which its context is drawn from"""
DRAWN, READY = "drawn from its replay", "a ready batch (no sampling)"
"""Modes. Every call is one update."""
EAGER, PEER, MEDIUM = "manyhands eager", "oyster", "oyster medium"
SIDES = ("manyhands", EAGER, PEER, MEDIUM)
SOURCE = "MANYHANDS_OYSTER"
"""environment variable: the folder with the peer's ``rlkit``"""
NETWORKS = ("encoder", "policy", "critic", "value", "target")
LOSSES = ("critic", "kl", "value", "policy")


class Sizes(NamedTuple):
    tasks: int
    batch: int
    """transitions per task"""
    context: int
    """the same, for the posterior"""
    latent: int
    hidden: tuple[int, ...]
    """layers of policy, critics and value"""
    encoder: tuple[int, ...]


CASES = {
    "PEARL": Sizes(16, 256, 64, 7, (300, 300, 300), (200, 200, 200)),
    "tiny": Sizes(4, 16, 8, 3, (16, 16), (8, 8)),
}
DEFAULT = ("PEARL",)
"""The other says only whether all runs."""


def drawing(sizes: Sizes, data: Data) -> tuple[Any, Any, Switchable]:
    """The algorithm, a full ring in shared memory and the sampler of a real run, which always draws the same batches."""
    from algos.pearl import Config, make
    from core.types import Field, TaskSpec
    from replay.sampler import Sampler

    spec = TaskSpec("bench", (Field("obs", (OBS,)),), ACTION, EPISODE)
    config = Config(
        hidden=sizes.hidden,
        encoder_hidden=sizes.encoder,
        latent_dim=sizes.latent,
        meta_batch=sizes.tasks,
        batch_size=sizes.batch,
        context=sizes.context,
        recent=RECENT,
        kl_weight=KL_WEIGHT * sizes.tasks,
        critic="value",
        gamma=GAMMA,
        policy_lr=LR,
        critic_lr=LR,
        encoder_lr=LR,
        tau=TAU,
        reward_scale=REWARD_SCALE,
        policy_mean_reg=REGULAR,
        policy_std_reg=REGULAR,
    )
    algorithm = make(config, spec, sizes.tasks)
    ring = filled_ring(spec, data, sizes.tasks)
    return algorithm, ring, Switchable(Sampler(ring, range(sizes.tasks), algorithm.plan, seed=0))


class Ours:
    """The learner of a run, drawing from a full ring in shared memory."""

    packages = ("torch", "numpy")

    def __init__(self, sizes: Sizes, data: Data, threads: int, compiled: str = "auto") -> None:
        from core.tree import write_tree

        algorithm, self.ring, source = drawing(sizes, data)
        worker, seconds = learner(algorithm, [source], threads, compile=compiled)
        write_tree(worker.state, slice(None), algorithm.init([0]))
        source.sample()
        self.about = {"work": self.work(worker)}
        self.modes = {DRAWN: Mode(lambda: worker.update(1), 1), READY: Mode(lambda: self.ready(worker, source), 1)}
        self.note = f"{worker.describe()}" + (f"; compiled in {seconds:.1f} s, without a cache" if worker.step.compiled else "")

    @staticmethod
    def ready(worker: Any, source: Switchable) -> None:
        source.still = True
        worker.update(1)
        source.still = False

    @staticmethod
    def work(worker: Any) -> dict[str, Any]:
        """Of the eager twin: the graph does the same."""
        state, algorithm, said = worker.state, worker.algorithm, {}
        noise = same_noise(algorithm)

        def update() -> None:
            said.update(worker.step.eager(state, worker.stack.feed.buffers[0], noise))

        before, gflop, after = clones(state), torch_gflop(update), clones(state)
        steps = {name: int(after["updates"][0] - before["updates"][0]) * moved(before[name], after[name]) for name in NETWORKS}
        update()
        losses = {name: float(said[f"{name}_loss"]) for name in ("critic", "value", "policy")}
        losses["kl"] = algorithm.config.kl_weight * float(said["kl"])
        return work({name: sum(leaf[0].numel() for leaf in before[name]) for name in NETWORKS}, steps, gflop, losses)


def same_noise(algorithm: Any) -> Any:
    """of the updates that are counted, on all sides"""
    import torch

    return algorithm.noise(None, [torch.Generator().manual_seed(0)])


def clones(state: Any) -> dict[str, list]:
    trees = {**state.params._asdict(), "target": state.target, "updates": {"": state.updates}}
    return {name: [leaf.clone() for leaf in tree.values()] for name, tree in trees.items()}


def moved(before: list, after: list) -> bool:
    """Whether no weight matrix and no bias is what it was."""
    return all(bool((a != b).any()) for a, b in zip(before, after, strict=True))


def work(parameters: dict[str, int], steps: dict[str, int], gflop: float, losses: dict[str, float]) -> dict[str, Any]:
    """What one update is. The losses are those of the second, which the gradients of all networks in the first have moved."""
    return {"parameters": parameters, "steps": steps, "gflop": gflop, "losses": losses}


def torch_gflop(update: Any) -> float:
    """Matrix multiplications only: torch counts nothing else."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        update()
    return counter.get_total_flops() / 1e9


def make(side: str, case: str, threads: int, rows: int) -> Any:
    sizes = CASES[case]
    data = make_data(rows, sizes.tasks)
    if side not in (PEER, MEDIUM):
        return Ours(sizes, data, threads, "eager" if side == EAGER else "auto")
    from pearl_peer import Oyster

    return Oyster(sizes, data, threads, "medium" if side == MEDIUM else "")


if __name__ == "__main__":
    serve(make, __doc__)
