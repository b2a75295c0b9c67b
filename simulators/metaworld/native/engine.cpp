// The fast step of Meta-World: what stock does between action and reward, for many simulators in one call. Plain C functions for ctypes.
//
// A step is: hand target and fingers from the action, five mj_step, one mj_forward, the observation, the reward. Nothing is allocated.
#include <cstring>
#include <ctime>

#include "tasks.hpp"

using namespace metaworld;

namespace {

constexpr int SUBSTEPS = 5;
enum Fault { FINE, UNSTABLE, BROKEN, NOT_FINITE };
thread_local char message[256];

int id_of(const mjModel *model, const char *kind, const char *name) {
  const int type = !strcmp(kind, "body")   ? mjOBJ_BODY
                   : !strcmp(kind, "site") ? mjOBJ_SITE
                   : !strcmp(kind, "geom") ? mjOBJ_GEOM
                   : !strcmp(kind, "joint") ? mjOBJ_JOINT
                                            : mjOBJ_UNKNOWN;
  const int id = mj_name2id(model, type, name);
  if (id < 0) {
    snprintf(message, sizeof message, "the model has no %s %s", kind, name);
    throw Broken(message);
  }
  return id;
}

void find_ids(Simulator &s) {
  const mjModel *m = s.model;
  s.hand = id_of(m, "body", "hand");
  s.rightclaw = id_of(m, "body", "rightclaw"), s.leftclaw = id_of(m, "body", "leftclaw");
  s.rightpad = id_of(m, "body", "rightpad"), s.leftpad = id_of(m, "body", "leftpad");
  s.right_tip = id_of(m, "site", "rightEndEffector"), s.left_tip = id_of(m, "site", "leftEndEffector");
  s.rightpad_geom = id_of(m, "geom", "rightpad_geom"), s.leftpad_geom = id_of(m, "geom", "leftpad_geom");
  char names[512];
  snprintf(names, sizeof names, "%s", s.task->ids);
  int i = 0;
  for (char *word = strtok(names, " "); word; word = strtok(nullptr, " ")) {
    char *colon = strchr(word, ':');
    if (!colon || i == MAX_IDS) throw Broken("ids of the task are malformed");
    *colon = 0;
    s.id[i++] = id_of(m, word, colon + 1);
  }
}

double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

void act(Simulator &s, const float *action) {
  mjData *d = s.data;
  for (int i = 0; i < 3; i++) {
    const float delta = float(clip(action[i], -1, 1)) * float(s.action_scale);  // a float32 array times a Python float
    d->mocap_pos[i] = clip(d->mocap_pos[i] + delta, s.mocap_low[i], s.mocap_high[i]);
  }
  d->mocap_quat[0] = d->mocap_quat[2] = 1, d->mocap_quat[1] = d->mocap_quat[3] = 0;
  d->ctrl[0] = action[3], d->ctrl[1] = -action[3];
}

void frame(Simulator &s, double *now) {
  memset(now, 0, FRAME * sizeof(double));
  for (int i = 0; i < 3; i++) now[i] = s.data->xpos[3 * s.hand + i];
  now[3] = clip(norm(s.xpos(s.rightclaw) - s.xpos(s.leftclaw)).value / 0.1, 0.0, 1.0);
  s.task->objects(s, now + 4);
}

void observe(Simulator &s, double *obs) {
  double now[FRAME];
  frame(s, now);
  memcpy(obs, now, sizeof now);
  memcpy(obs + FRAME, s.previous, sizeof now);
  memcpy(s.previous, now, sizeof now);
  for (int i = 0; i < 3; i++) obs[2 * FRAME + i] = s.constants.target[i];
  for (int i = 0; i < OBS; i++) obs[i] = clip(obs[i], s.low[i], s.high[i]);
  if (s.hide_goal) obs[36] = obs[37] = obs[38] = 0.0;
}

bool unstable(const mjData *d) {  // MuJoCo resets silently and counts
  return d->warning[mjWARN_BADQPOS].number || d->warning[mjWARN_BADQVEL].number || d->warning[mjWARN_BADQACC].number ||
         d->warning[mjWARN_BADCTRL].number;
}

void own_model(Simulator &s) {
  if (s.shared->owner == &s) return;
  memcpy(s.model->body_pos, s.body_pos, 3 * s.model->nbody * sizeof(mjtNum));
  memcpy(s.model->site_pos, s.site_pos, 3 * s.model->nsite * sizeof(mjtNum));
  s.shared->owner = &s;
}

Fault step(Simulator &s, const float *action, Observation &obs, Outcome &outcome) {
  if (!s.body_pos) {
    snprintf(message, sizeof message, "stepped before its first reset");
    return BROKEN;
  }
  own_model(s);
  act(s, action);
  for (int i = 0; i < SUBSTEPS; i++) mj_step(s.model, s.data);
  mj_forward(s.model, s.data);
  if (unstable(s.data)) return UNSTABLE;
  observe(s, obs.x);
  Action taken;
  memcpy(taken.x, action, sizeof taken.x);
  try {
    outcome = (s.reward_version == 1 ? s.task->v1 : s.task->v2)(s, obs, taken);
    if (s.success_version != s.reward_version) outcome.success = (s.success_version == 1 ? s.task->v1 : s.task->v2)(s, obs, taken).success;
  } catch (const Broken &broken) {
    snprintf(message, sizeof message, "%s", broken.what());
    return BROKEN;
  }
  s.last = obs;
  if (s.sparse) outcome.reward = outcome.success ? 1.0 : 0.0;
  s.t++;
  return FINE;
}

double monotonic() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

}  // namespace

extern "C" {

const char *metaworld_message() { return message; }

int metaworld_count() { return sizeof TASKS / sizeof *TASKS; }
const char *metaworld_name(int task) { return TASKS[task]->name; }
const char *metaworld_attributes(int task) { return TASKS[task]->attributes; }
Math *metaworld_math() { return &math; }

// For the checks at load, which compare them with numpy's and scipy's.
double metaworld_norm(const double *x, int n) {
  return n == 2 ? norm({x[0], x[1]}).value : n == 3 ? norm({x[0], x[1], x[2]}).value : norm({x[0], x[1], x[2], x[3]}).value;
}
double metaworld_squared(double x) { return squared(x).value; }
double metaworld_exp(double x) { return np_exp(x).value; }
double metaworld_log(double x) { return np_log(x).value; }
double metaworld_sin(double x) { return np_sin(x).value; }
double metaworld_cos(double x) { return np_cos(x).value; }
void metaworld_quat(const double *matrix, double *quat) { quat_of_matrix(matrix, quat); }

SharedModel *metaworld_share(mjModel *model) { return new SharedModel{model, nullptr}; }
void metaworld_disown(SharedModel *shared) { shared->owner = nullptr; }

struct Settings {
  int task, reward_version, success_version, hide_goal, sparse, horizon;
  double action_scale, mocap_low[3], mocap_high[3], low[OBS], high[OBS];
};

Simulator *metaworld_make(SharedModel *shared, mjData *data, const Settings *settings) {
  auto *s = new Simulator{};
  s->task = TASKS[settings->task], s->shared = shared, s->model = shared->model, s->data = data;
  s->reward_version = settings->reward_version, s->success_version = settings->success_version, s->hide_goal = settings->hide_goal;
  s->sparse = settings->sparse, s->horizon = settings->horizon, s->action_scale = settings->action_scale;
  memcpy(s->mocap_low, settings->mocap_low, sizeof s->mocap_low), memcpy(s->mocap_high, settings->mocap_high, sizeof s->mocap_high);
  memcpy(s->low, settings->low, sizeof s->low), memcpy(s->high, settings->high, sizeof s->high);
  try {
    find_ids(*s);
  } catch (const Broken &broken) {
    snprintf(message, sizeof message, "%s", broken.what());
    delete s;
    return nullptr;
  }
  return s;
}

void metaworld_free(Simulator *s) {
  if (s->shared->owner == s) s->shared->owner = nullptr;
  delete s;
}

// Puts the simulator where a reset of stock led to. The positions must live as long as the episode.
void metaworld_begin(Simulator *s, const double *state, const Constants *constants, const double *body_pos, const double *site_pos,
                     const double *obs) {
  mj_setState(s->model, s->data, state, mjSTATE_INTEGRATION);
  for (auto &warning : s->data->warning) warning.number = 0;
  s->constants = *constants;
  s->body_pos = body_pos, s->site_pos = site_pos;
  if (s->shared->owner == s) s->shared->owner = nullptr;
  memcpy(s->previous, obs, sizeof s->previous);
  memcpy(s->last.x, obs, sizeof s->last.x);
  if (s->hide_goal) s->last.x[36] = s->last.x[37] = s->last.x[38] = 0.0;
  s->t = 0;
}

// Begins an episode where the last one ended: its first observation is the last one's last.
void metaworld_go_on(Simulator *s) { s->t = 0; }

void metaworld_last(const Simulator *s, double *obs) { memcpy(obs, s->last.x, sizeof s->last.x); }

// One step of one simulator: the observation in full precision, (reward, success, truncated).
int metaworld_step(Simulator *s, const float *action, double *obs, double *result) {
  Observation seen;
  Outcome outcome{};
  const Fault fault = step(*s, action, seen, outcome);
  memcpy(obs, seen.x, sizeof seen.x);
  result[0] = outcome.reward.value, result[1] = outcome.success, result[2] = s->t >= s->horizon;
  return fault;
}

struct Block {  // arrays of n simulators in the pool's shared memory; progress tells the parent which is stepped since when
  int n, frames;
  Simulator **simulators;
  const float *action;
  float *closing, *obs, *reward;
  bool *success, *truncated;
  double *progress;
  int first_slot;
};

// One step of every simulator of a block. Returns how many episodes ended; where one fails, *fault says how and nothing more is stepped.
int metaworld_step_block(const Block *block, int *fault) {
  int ended = 0;
  const int width = block->frames == 2 ? OBS : FRAME + 3;
  for (int i = 0; i < block->n; i++) {
    Simulator &s = *block->simulators[i];
    block->progress[2] = monotonic(), block->progress[1] = block->first_slot + i;
    Observation seen;
    Outcome outcome{};
    *fault = step(s, block->action + ACTION * i, seen, outcome);
    if (*fault) return ended;
    float *closing = block->closing + width * i;
    for (int j = 0; j < FRAME; j++) closing[j] = float(seen.x[j]);
    for (int j = width == OBS ? FRAME : 2 * FRAME, at = FRAME; j < OBS; j++, at++) closing[at] = float(seen.x[j]);
    memcpy(block->obs + width * i, closing, width * sizeof(float));
    block->reward[i] = float(outcome.reward.value);
    bool finite = std::isfinite(block->reward[i]);
    for (int j = 0; j < width; j++) finite = finite && std::isfinite(closing[j]);
    if (!finite) {
      *fault = NOT_FINITE;
      return ended;
    }
    block->success[i] = outcome.success, block->truncated[i] = s.t >= s.horizon;
    ended += block->truncated[i];
  }
  return ended;
}

}  // extern "C"
