"""Tables 2 and 4 of the Meta-World paper (2019) as data: the paper's 50 names, the v3 task each one is, and its success radius.

The radius is the epsilon of |object - goal| < epsilon, in metres. v3 judges success by code of its own, with other radii and other
distances; nothing here changes that. docs/metaworld.md compares the two.
"""

_TABLE = """
turn on faucet | faucet-open | 0.05
sweep | sweep | 0.05
assemble nut | assembly | 0.08
turn off faucet | faucet-close | 0.05
push | push | 0.07
pull lever | lever-pull | 0.05
turn dial | dial-turn | 0.03
push with stick | stick-push | 0.08
get coffee | coffee-button | 0.02
pull handle side | handle-pull-side | 0.04
basketball | basketball | 0.08
pull with stick | stick-pull | 0.08
sweep into hole | sweep-into | 0.05
disassemble nut | disassemble | 0.08
place onto shelf | shelf-place | 0.08
push mug | coffee-push | 0.07
press handle side | handle-press-side | 0.04
hammer | hammer | 0.05
slide plate | plate-slide | 0.07
slide plate side | plate-slide-side | 0.07
press button wall | button-press-wall | 0.02
press handle | handle-press | 0.02
pull handle | handle-pull | 0.04
soccer | soccer | 0.07
retrieve plate side | plate-slide-back-side | 0.07
retrieve plate | plate-slide-back | 0.07
close drawer | drawer-close | 0.08
press button top | button-press-topdown | 0.02
reach | reach | 0.05
press button top wall | button-press-topdown-wall | 0.02
reach with wall | reach-wall | 0.05
insert peg side | peg-insert-side | 0.07
pull | push-back | 0.07
push with wall | push-wall | 0.07
pick out of hole | pick-out-of-hole | 0.08
pick&place w/ wall | pick-place-wall | 0.07
press button | button-press | 0.02
pick&place | pick-place | 0.07
pull mug | coffee-pull | 0.07
unplug peg | peg-unplug-side | 0.07
close window | window-close | 0.05
open window | window-open | 0.05
open door | door-open | 0.08
close door | door-close | 0.08
open drawer | drawer-open | 0.08
insert hand | hand-insert | 0.05
close box | box-close | 0.08
lock door | door-lock | 0.05
unlock door | door-unlock | 0.05
pick bin | bin-picking | 0.08
"""

PAPER: tuple[tuple[str, str, float], ...] = tuple(
    (name.strip(), f"{task.strip()}-v3", float(epsilon)) for name, task, epsilon in (row.split("|") for row in _TABLE.strip().splitlines())
)
"""(name in Table 2, v3 task, epsilon in Table 4), in the order of Table 2"""
V3_NAME = {name: task for name, task, _ in PAPER}
"""``pull`` -> ``push-back-v3``"""
EPSILON = {task: epsilon for _, task, epsilon in PAPER}
"""``push-back-v3`` -> 0.07"""
