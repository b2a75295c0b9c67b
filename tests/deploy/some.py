"""Facts about runs, for tests that render: small and large, with several seeds, on a GPU that is shared, without actors of their own."""

from deploy.facts import Facts, Nodes

SMALL = Facts("reach-sac", (), (0,), ("metaworld",), 2, 1, 35_000_000, "", 0, Nodes())
KINDS = {
    "small": SMALL,
    "seeds": SMALL._replace(seeds=(0, 1, 2, 3), nodes=Nodes(gpu_share=0.25)),
    "large": Facts("mt50-mtmhsac", ("--algo.tau", "0.01"), (3,), ("metaworld",), 10, 16, 3 * 10**9, "", 0, Nodes(gpu_share=2)),
    "cpu": SMALL._replace(nodes=Nodes(gpu_share=0)),
    "outside": SMALL._replace(preset="vision-reach-c2farm", simulators=("rlbench",), actors=0, clients=4),
    "spilled": SMALL._replace(replay_bytes=10**12, spill="/disk"),
}
