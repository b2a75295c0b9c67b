"""The records that travel: simulator -> actor -> replay -> learner -> (weights) -> actor.

Shape letters: S seeds, K tasks, B batch, T time, N parallel simulators, A action, O observation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Observation = Mapping[str, NDArray]
"""Field name -> array. The field ``obs`` is always there: the flat float32 vector (O,) that a state policy reads."""


class Field(NamedTuple):
    """One named array of an observation or of a replay row."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    unit: str = ""


class Keyframes(NamedTuple):
    """How one acts by next-best poses: an env step brings the gripper to a pose and then opens or closes it, however long that takes.

    An action is, all in [-1, 1]: position (3), scaled from ``bounds``; where ``rotation``, a quaternion xyzw (4); gripper, above 0 open;
    where ``collisions``, above 0 where the way may ignore them. What cannot be reached ends the episode as failed, without an exception.

    Each camera c has the fields ``c_rgb`` (H, W, 3) uint8, ``c_depth`` (H, W) float32 metres along its axis, ``c_intrinsics`` (3, 3) and
    ``c_extrinsics`` (4, 4) float64. Pixel (row v, column u) shows the world point extrinsics @ [inv(intrinsics) @ (u d, v d, d), 1]. There
    are also ``gripper_pose`` (7,) float64, metres and quaternion xyzw, and ``gripper_open`` () float32, 0 or 1. The last number of
    ``obs`` is ``core.poses.time_left``.
    """

    bounds: tuple[float, float, float, float, float, float]
    """metres, world: lower corner, upper corner of the workspace"""
    cameras: tuple[str, ...]
    rotation: bool = True
    """the gripper can be turned"""
    collisions: bool = False
    """a path may be told to ignore collisions"""


@dataclass(frozen=True)
class TaskSpec:
    """What a simulator is, before it is stepped."""

    task: str
    """``metaworld:reach-v3``: module of ``simulators`` and the task in it."""
    observation: tuple[Field, ...]
    """The first field is ``obs``, float32 (O,)."""
    action_dim: int
    """A. Actions are float32 in [-1, 1]."""
    horizon: int
    """env steps after which an episode is truncated."""
    labels: tuple[tuple[str, str], ...] = ()
    """What must be equal for two results to be compared: reward version, goal visibility ..."""
    repeated: int = 0
    """F: ``obs[F : 2 * F]`` is what ``obs[:F]`` was one env step earlier (at an episode's first step whatever the simulator says).
    Replay keeps it once."""
    discrete: bool = False
    """An action chooses one of A: it is one-hot, and a simulator takes the largest of its numbers."""
    keyframes: Keyframes | None = None
    """of simulators that are acted in by next-best poses and seen by cameras"""

    @property
    def obs_dim(self) -> int:
        return self.observation[0].shape[0]


class Step(NamedTuple):
    """What one env step returns."""

    obs: Observation
    """The observation after the action, also when the episode ends here."""
    reward: float
    terminated: bool
    """The task itself ended: nothing is to be expected after this state."""
    truncated: bool
    """The time limit cut the episode: a value is bootstrapped through it."""
    success: bool
    """The task's success criterion holds at this very step."""


class Seen(NamedTuple):
    """What N simulators show a policy that is to act. Arrays lead with N."""

    obs: NDArray
    """(N, O) float32"""
    tasks: NDArray
    """(N,) int64, index of the task, 0 <= task < K"""
    lanes: NDArray
    """(N,) int64, the number of the simulator among all of the run, task-major: which of per-simulator parameters are its own"""
    trial: NDArray
    """(N,) bool, the first step of a trial: nothing from before counts"""
    episode: NDArray
    """(N,) bool, the first step of an episode, be it the first of a trial or a later one"""
    action: NDArray
    """(N, A) float32, what this simulator did last in this trial; 0 at its first step"""
    reward: NDArray
    """(N,) float32, what that brought; 0 at the trial's first step"""
    fields: Mapping[str, NDArray] = MappingProxyType({})
    """(N, ...) by name, what else the simulators show: images, camera matrices, the gripper's pose"""


class Chunk(NamedTuple):
    """Consecutive transitions of one episode of one simulator, and the observation that closes them."""

    writer: int
    """Index of the actor that made it, 0 <= writer < writers of the run."""
    incarnation: int
    """How often that actor has been started; sequence numbers begin again at 0 with each."""
    sequence: int
    """0, 1, 2 ... per incarnation: with ``writer`` the key by which a retried chunk is stored once."""
    task: int
    """Index of the task, 0 <= task < K."""
    rows: NDArray
    """Of ``rows.row_dtype``: n transitions in time order, then one closing row; in front an opening row where a frame is repeated."""

    @property
    def transitions(self) -> int:
        return len(self.rows) - 1 - bool(self.rows["kind"][0])


class Batch(NamedTuple):
    """A task-uniform draw from replay, task-major. Views into one reused buffer: valid until the next draw."""

    obs: "Tensor"
    """(K, B, O) float32"""
    action: "Tensor"
    """(K, B, A) float32"""
    reward: "Tensor"
    """(K, B) float32, the discounted sum over the n-step window"""
    next_obs: "Tensor"
    """(K, B, O) float32, the observation that ends the window"""
    bootstrap: "Tensor"
    """(K, B) float32: gamma^m for a window of m steps, 0 where it ends in a terminal state"""
    chosen: "Tensor | tuple[()]" = ()
    """(T,) int64, the tasks that the draw is of, which then leads with T in place of K; nothing where it is of all"""
    context: "Tensor | tuple[()]" = ()
    """(T, C, O + A + 1) float32: observation, action and reward of C transitions of each task; nothing where the plan asks for none"""
    context_here: "dict[str, Tensor] | tuple[()]" = ()
    """(T, C, ...) by name, of the same transitions: ``action``, ``reward`` and the columns that encode the observation, if any do"""
    here: "dict[str, Tensor] | tuple[()]" = ()
    """(K, B, ...) by name: the algorithm's own columns of the transition, those that encode its observation and the others"""
    there: "dict[str, Tensor] | tuple[()]" = ()
    """(K, B, ...) by name: the columns that encode the observation ``next_obs``; anything where ``bootstrap`` is 0"""
    weight: "Tensor | tuple[()]" = ()
    """(K, B) float32: 1 / chance of having been drawn, over the largest of the batch; nothing where all were as likely"""


class Round(NamedTuple):
    """Whole episodes of one goal per simulator, for P phases, K tasks, N simulators of each, E episodes of at most T env steps.

    Episode e + 1 follows e in the same simulator. What lies behind the end of an episode is zeros.
    """

    obs: "Tensor"
    """(P, K, N, E, T, O) float32"""
    action: "Tensor"
    """(P, K, N, E, T, A) float32, as the policy drew it: perhaps outside the bounds to which it was clipped"""
    reward: "Tensor"
    """(P, K, N, E, T) float32"""
    valid: "Tensor"
    """(P, K, N, E, T) float32: 1 where a step was taken, 0 behind the end"""
    extra: "dict[str, Tensor]"
    """the algorithm's own columns, (P, K, N, E, T, ...)"""


class Weights(NamedTuple):
    """A published policy: never changed after it was made."""

    version: int
    """0 is the initial policy; grows by one with every publish, also over restarts."""
    params: dict[str, NDArray]
    """name -> float32 array"""


@dataclass(frozen=True)
class Stream:
    """The plan of an off-policy algorithm: what the learner draws for one update."""

    batch_size: int
    """B, transitions per task"""
    n_step: int = 1
    """env steps folded into one transition"""
    gamma: float = 0.99
    """discount per env step"""
    trial: int = 1
    """episodes of a simulator that a policy with a memory plays as one trial, while collecting"""
    tasks: int = 0
    """T, tasks drawn anew, without replacement, for each update; 0: all K"""
    hold: int = 1
    """updates that the tasks drawn are kept for"""
    context: int = 0
    """C, transitions of each task drawn beside the batch"""
    recent: int = 0
    """transitions of a task, its newest, that the context is drawn from; 0: all"""
    demos: float = 0.0
    """share of each task's B that is drawn from demonstrations, where the run has any; 0: they are drawn as any other transition"""
    priority: float = 0.0
    """exponent of the priorities that the update tells as ``priority`` (K, B) among its metrics; 0: all are as likely"""
    weight: float = 0.0
    """exponent of ``Batch.weight``; 0: none"""
    timeouts: Literal["bootstrap", "terminal"] = "bootstrap"
    """what an episode's time limit is: a cut, beyond which values go on, or an end as any other"""


@dataclass(frozen=True)
class Rounds:
    """The plan of an on-policy algorithm: what is collected for one update, and then never learned from again."""

    episodes: int
    """E, whole episodes of each simulator in each phase"""
    phases: int = 1
    """P: between two phases of a round the learner gives actors other parameters (MAML: 1 + inner steps)"""
    one_goal: bool = False
    """all episodes of a simulator in a round are one trial: they share their goal, and a policy with a memory keeps it between them"""

    @property
    def trial(self) -> int:
        """Episodes of a simulator that belong together."""
        return self.episodes * self.phases if self.one_goal else 1


Plan = Stream | Rounds
