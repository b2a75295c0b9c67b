"""The training loop, whole: the same for every algorithm, backend and number of machines."""

from manyhands.run import Run


def train(run: Run) -> None:
    """Ask the limiter, collect, update, absorb what came in, publish, evaluate, log, save; until the goal.

    Nothing here waits but ``absorb``. The limiter always admits an actor or the learner, so there is always something to wait for.
    """
    fleet, limiter, clocks = run.fleet, run.limiter, run.clocks
    while not run.done():
        drawable = fleet.drawable()  # it may have been, and be no more: then only collecting helps
        for actor in fleet.idle_actors():
            if not drawable or limiter.may_insert(fleet.under_way() + fleet.call_size):
                fleet.collect(actor)
        updates = limiter.may_update(fleet.updates_per_call) if drawable and fleet.learner_idle() else 0
        if updates:
            run.announce_wait()
            fleet.update(updates)
            limiter.updated(updates)

        absorbed = fleet.absorb()
        limiter.inserted(absorbed.inserted)

        if absorbed.learner:
            fleet.publish()
        if not fleet.evaluating() and clocks.evaluate.due(fleet.counters.steps):
            fleet.evaluate()
        run.log(absorbed)
        if clocks.save.due():
            run.save()
