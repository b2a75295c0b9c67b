// door-lock-v3 and door-unlock-v3: the lock of a door is turned down or to the side.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::door_lock {

enum { LOCK_START, DOOR_LINK, LOCK_LINK };  // ids
constexpr const char *LOCK_IDS = "site:lockStartLock body:door_link body:lock_link";
constexpr const char *UNLOCK_IDS = "site:lockStartUnlock body:door_link body:lock_link";
constexpr const char *ATTRIBUTES = "maxPullDist _lock_length";

inline void objects(Simulator &s, double *out) { put(out, 0, s.site(LOCK_START), s.body_quat(DOOR_LINK)); }

inline Outcome lock_v2(Simulator &s, const Observation &obs, const Action &) {
  const Vec obj = obs.vec(4), tcp = s.left_pad();
  const Vec init_left_pad = s.left_pad();  // a view: stock's margin is where the pad is now
  const Vec scale = vec(0.25, 1.0, 0.5);
  const Num tcp_to_obj = py_float(norm((obj - tcp) * scale));
  const Num tcp_to_obj_init = py_float(norm((obj - init_left_pad) * scale));
  const Num obj_to_target = py_abs(s.target()[2] - obj[2]);
  const Num tcp_opened = py_max(obs[3], 0.0);
  const Num near_lock = tolerance(tcp_to_obj, 0, 0.01, tcp_to_obj_init, LONG_TAIL);
  const Num lock_pressed = tolerance(obj_to_target, 0, 0.005, s.extra(1), LONG_TAIL);
  Num reward = 2 * hamacher_product(tcp_opened, near_lock);
  reward += 8 * lock_pressed;
  return {reward, obj_to_target <= 0.02};
}

inline Outcome unlock_v2(Simulator &s, const Observation &obs, const Action &) {
  const Vec gripper = obs.vec(0), lock = obs.vec(4);
  const Vec obj_init_pos = s.body(LOCK_LINK);  // a view: where the lock is now
  const Vec offset = vec(0.0, 0.055, 0.07);
  const Vec scale = vec(0.25, 1.0, 0.5);
  const Vec shoulder_to_lock = (gripper + offset - lock) * scale;
  const Vec shoulder_to_lock_init = (s.init_tcp() + offset - obj_init_pos) * scale;
  const Num ready_to_push = tolerance(py_float(norm(shoulder_to_lock)), 0, 0.02, norm(shoulder_to_lock_init), LONG_TAIL);
  const Num obj_to_target = py_abs(py_float(s.target()[0] - lock[0]));
  const Num pushed = tolerance(obj_to_target, 0, 0.005, s.extra(1), LONG_TAIL);
  return {2 * ready_to_push + 8 * pushed, obj_to_target <= 0.02};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec objPos = obs.vec(4);
  const Num pullDist = norm(objPos - s.target());
  return {pull_v1(norm(objPos - s.tcp()), pullDist, s.extra(0)), pullDist <= 0.02};
}

constexpr Task TASK = {"door-lock-v3", LOCK_IDS, ATTRIBUTES, objects, v1, lock_v2};

}  // namespace metaworld::door_lock

namespace metaworld::door_unlock {
using namespace metaworld::door_lock;
constexpr Task TASK = {"door-unlock-v3", UNLOCK_IDS, ATTRIBUTES, objects, v1, unlock_v2};
}  // namespace metaworld::door_unlock
