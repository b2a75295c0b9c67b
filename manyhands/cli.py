"""The command line. Only what a command needs is imported, after it is known: help answers at once."""

import os
import select
import sys
from collections.abc import Callable, Sequence
from functools import partial

HELP = """\
usage: manyhands COMMAND [...]

  doctor                 what this machine has and lacks for training; --sim rlbench: for a simulator
  presets                ready-made experiments
  train PRESET           train; --help lists every setting, --dry-run what it would cost
      [--seeds 0-4] [--backend inline|ray] [--dry-run] [--algo.tau 0.01 ...]
      [--at-once 2] [--stack 5] [--devices 0,1]   how several seeds share the machine
  resume RUN             go on from the newest checkpoint, whatever ended the run
  eval RUN [--protocol mt10]
                         evaluation on fresh goals, or on those of a protocol
  adapt RUN [--protocol ml10] [--episodes 10]
                         success after 0, 1, 2, 5, 10 adaptation episodes, on fresh goals or on the test tasks of ml10, ml45, ml1-TASK
  adapt RUN --tasks TASK ... --method finetune|reptile|context [--demos 1] [--jointly]
                         to tasks of its simulator that the run has not seen
  eval --policy scripted PROTOCOL
                         Meta-World's own experts (or random, zero) on mt10, mt50, ml10, ml45, mt1-TASK, ml1-TASK
  finetune RUN --protocol ml10 [--method all|actor|last-layer|policy|scratch|mixed] [--steps 0 5000 50000]
                         carry a run's networks on to new tasks: success over env steps
  demos collect TASK ... [-n 10] | import SOURCE ... | inspect [PATH ...] | export SOURCE ...
                         demonstrations by experts, for those that learn from them
  video RUN [--task TASK]
                         a run that acts by keyframes: a moving picture with the voxels that it chose
  simulator --connect ADDRESS [--simulators 4]
                         simulators of this machine for a run elsewhere that has a gateway
  deploy kuberay|slurm|docker|redis|monitoring PRESET [--out FOLDER]
                         files that bring a run to a cluster, sized by its settings and checked; see docs/cluster.md
  launch PRESET --cluster ADDRESS [--seeds 0-3] [--gpus 0.25] [--runs SHARED_FOLDER] [--dry-run]
                         the same on a Ray cluster, one run per seed; this machine may be switched off meanwhile
  top | logs RUN | stop RUN | resume RUN   --cluster ADDRESS
                         its runs, live; --once --json for scripts
  runs                   all runs
  show RUN               one run: settings, results, checkpoints

RUN is an id (or its unique beginning or ending) from `manyhands runs`. Runs are kept in ./runs, or where --runs or MANYHANDS_RUNS says.
"""
HELP_FLAGS = ("-h", "--help")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 2 for an error of the user, 130 after a second Ctrl-C; 1 where nobody reads on (``| head``)."""
    from core.errors import unknown

    args = list(sys.argv[1:] if argv is None else argv)

    def command() -> int:
        if not args or args[0] in (*HELP_FLAGS, "help"):
            sys.stdout.write(HELP)
            return 0
        commands = _commands()
        if args[0] not in commands:
            raise unknown("command", args[0], commands)
        return commands[args[0]](args[1:])

    return answered(command)


def answered(work: Callable[[], int]) -> int:
    """The exit code of ``work``; what the user did wrong, or an interruption, is one line on stderr instead of a traceback.

    A reader that leaves (``| head``) ends it with 1, as ``rich`` does, and without a word; a code that it has by then is kept.
    """
    from core.errors import ManyhandsError

    code = 1
    try:
        try:
            code = work()
        except ManyhandsError as error:
            code = 2
            sys.stderr.write(f"error: {error}\n")
        except KeyboardInterrupt:
            code = 130
            sys.stderr.write("interrupted\n")
        finally:
            if sys.stdout is not None:  # as it is after ``>&-``
                sys.stdout.flush()
    except BrokenPipeError:
        if not _deserted():
            raise  # of another pipe
    return code


def _deserted() -> bool:
    """Whether stdout or stderr has lost its reader; what is still in their buffers, and what follows, then goes nowhere."""
    left = False
    for stream in filter(None, (sys.stdout, sys.stderr)):
        watched = select.poll()
        watched.register(stream, select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0)):
            nowhere, left = os.open(os.devnull, os.O_WRONLY), True
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return left


def _commands() -> dict[str, Callable[[list[str]], int]]:
    return {
        "doctor": _doctor,
        "presets": _presets,
        "train": _train,
        "resume": _resume,
        "eval": _eval,
        "adapt": _adapt,
        "finetune": _finetune,
        "demos": _demos,
        "video": _video,
        "simulator": _simulator,
        "deploy": _deploy,
        **{name: partial(_on_cluster, name) for name in ("launch", "enlist", "top", "logs", "stop")},
        "runs": _runs,
        "show": _show,
    }


def _before_numpy() -> None:
    """Small matrix products of actors must not start threads that fight the learner's; read once, when numpy is loaded."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _doctor(args: list[str]) -> int:
    from manyhands.arguments import DoctorArguments, parse

    options = parse(DoctorArguments, args, "doctor")
    from rich.console import Console

    from manyhands.doctor import WIDE, checks, exit_status, render

    console = Console(width=None if sys.stdout.isatty() else WIDE)
    if options.sim:
        _before_numpy()
        from manyhands.doctor_sim import examine, next_command

        found = examine(options.sim)
        render(console, found, f"manyhands doctor --sim {options.sim}", next_command(options.sim))
        return exit_status(found)
    from manyhands.machine import fast_step_check, matmul_check, pictures_check

    found = checks(options.runs, extra=[matmul_check, fast_step_check, pictures_check])
    render(console, found)
    return exit_status(found)


def _presets(args: list[str]) -> int:
    from manyhands.arguments import NoArguments, parse
    from manyhands.tables import print_presets

    parse(NoArguments, args, "presets")
    print_presets()
    return 0


def _train(args: list[str]) -> int:
    if args and args[0] in HELP_FLAGS:  # the settings belong to a preset, which is not named yet
        sys.stdout.write(HELP)
        return 0
    _before_numpy()
    from manyhands.arguments import parse_train

    options = parse_train(args)
    if options.dry_run:
        from manyhands.session import dry_run

        dry_run(options.config, options.seed_list(), options.placement(), options.runs)
        return 0
    from manyhands.session import train_placed, train_seeds

    placement = options.placement()
    if placement is None:
        return train_seeds(options.config, options.seed_list(), options.runs)
    return train_placed(options.config, placement, options.runs)


def _resume(args: list[str]) -> int:
    _before_numpy()
    from manyhands.arguments import ResumeArguments, parse_run

    options = parse_run(ResumeArguments, args, "resume")
    if options.cluster:
        from manyhands.cluster.commands import resume_on

        return resume_on(options)
    from manyhands.session import resume

    learner = {"device": options.device, "memory_fraction": options.memory_fraction}
    return resume(options.run, options.runs, options.step, force=options.force, address=options.ray_address, **learner)


def _eval(args: list[str]) -> int:
    _before_numpy()
    from manyhands.arguments import EvalArguments, parse

    options = parse(EvalArguments, args, "eval")
    options.check()
    if options.policy == "trained":
        from manyhands.evaluate import evaluate_run

        return evaluate_run(options)
    from manyhands.judge import judge

    return judge(options)


def _adapt(args: list[str]) -> int:
    _before_numpy()
    from manyhands.adapt_arguments import AdaptArguments
    from manyhands.arguments import parse_run

    options = parse_run(AdaptArguments, args, "adapt")
    options.check()
    from manyhands.adapt import adapt_run

    return adapt_run(options)


def _finetune(args: list[str]) -> int:
    _before_numpy()
    from manyhands.arguments import parse_run
    from manyhands.finetune import finetune
    from manyhands.finetune_arguments import FinetuneArguments

    return finetune(parse_run(FinetuneArguments, args, "finetune"))


def _demos(args: list[str]) -> int:
    _before_numpy()
    from manyhands.demos.commands import demos

    return demos(args)


def _video(args: list[str]) -> int:
    _before_numpy()
    from manyhands.arguments import parse_run
    from manyhands.video import VideoArguments, film_run

    for path in film_run(parse_run(VideoArguments, args, "video")):
        sys.stdout.write(f"{path}\n")
    return 0


def _simulator(args: list[str]) -> int:
    _before_numpy()
    from outpost.__main__ import main as client

    return client(args, "manyhands simulator")


def _deploy(args: list[str]) -> int:
    if not args or args[0] in HELP_FLAGS:  # the options belong to a target and a preset, which are not named yet
        sys.stdout.write(HELP)
        return 0 if args else 2
    _before_numpy()
    from manyhands.deploy_arguments import parse_deploy
    from manyhands.deployment import deploy

    sys.stdout.writelines(f"{line}\n" for line in deploy(parse_deploy(args)))
    return 0


def _on_cluster(command: str, args: list[str]) -> int:
    if command == "launch" and args and args[0] in HELP_FLAGS:  # as for train
        sys.stdout.write(HELP)
        return 0
    _before_numpy()
    from manyhands.cluster.cli import COMMANDS

    return COMMANDS[command](args)


def _runs(args: list[str]) -> int:
    from manyhands.arguments import RunsArguments, parse
    from manyhands.tables import print_runs

    print_runs(parse(RunsArguments, args, "runs").runs)
    return 0


def _show(args: list[str]) -> int:
    from manyhands.arguments import ShowArguments, parse_run
    from manyhands.tables import print_run

    options = parse_run(ShowArguments, args, "show")
    print_run(options.run, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
