// door-open-v3 and door-close-v3: the door is pulled open by its handle, or pushed shut.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::door {

enum { HANDLE, DOORJOINT };  // ids
constexpr const char *IDS = "geom:handle joint:doorjoint";
constexpr const char *ATTRIBUTES = "maxPullDist";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.geom(HANDLE), s.geom_matrix(HANDLE)); }

inline Num reward_grab_effort(const Action &actions) {
  return py_float((py_min(py_max(actions[3], -1), 1) + 1.0) / 2.0);
}

inline Num ready_to_open(const Observation &obs) {
  const Vec hand = obs.vec(0);
  const Vec door = obs.vec(4) + vec(-0.05, 0.0, 0.0);
  const double threshold = 0.12;
  const Num radius = norm_xy(hand - door);
  const Num floor = radius <= threshold ? Num(0.0) : 0.04 * np_log(radius - threshold) + 0.4;
  const Num above_floor = hand[2] >= floor ? Num(1.0) : tolerance(floor - hand[2], 0.0, 0.01, floor / 2.0, LONG_TAIL);
  const Num hand_to_door = py_float(norm(hand - door - vec(0.05, 0.03, -0.01)));
  const Num in_place = tolerance(hand_to_door, 0, threshold / 2.0, 0.5, LONG_TAIL);
  return hamacher_product(above_floor, in_place);
}

inline Num opened(Num theta) {
  const double pi = 3.141592653589793;
  const Num door_angle = -theta;
  const Num a = 0.2, b = 0.8;
  return a * (theta < -pi / 90.0 ? 1.0 : 0.0) + b * tolerance(pi / 2.0 + pi / 6 - door_angle, 0, 0.5, pi / 3.0, LONG_TAIL);
}

inline bool is_open(const Simulator &s, const Observation &obs) { return py_abs(obs[4] - s.target()[0]) <= 0.08; }

inline Outcome open_v2(Simulator &s, const Observation &obs, const Action &actions) {
  const Num theta = py_float(s.qpos(DOORJOINT));
  Num reward = 2.0 * hamacher_product(ready_to_open(obs), reward_grab_effort(actions)) + 8.0 * opened(theta);
  if (is_open(s, obs)) reward = 10.0;
  return {reward, is_open(s, obs)};
}

inline Outcome close_v2(Simulator &s, const Observation &obs, const Action &) {
  const double TARGET_RADIUS = 0.05;
  const Vec obj = obs.vec(4), target = s.target();
  const Num tcp_to_target = py_float(norm(s.tcp() - target));
  const Num obj_to_target = py_float(norm(obj - target));
  const Num in_place_margin = norm(s.obj_init() - target);
  const Num in_place = tolerance(obj_to_target, 0, TARGET_RADIUS, in_place_margin, GAUSSIAN);
  const Num hand_margin = py_float(norm(s.hand_init() - obj)) + 0.1;
  const Num hand_in_place = tolerance(tcp_to_target, 0, 0.25 * TARGET_RADIUS, hand_margin, GAUSSIAN);
  Num reward = 3 * hand_in_place + 6 * in_place;
  if (obj_to_target < TARGET_RADIUS) reward = 10;
  return {reward, obj_to_target <= 0.08};
}

inline Num pull_dist(const Simulator &s, const Observation &obs) { return norm_xy(obs.vec(4) - s.target()); }

inline Num v1(const Simulator &s, const Observation &obs) {
  return pull_v1(norm(obs.vec(4) - s.tcp()), pull_dist(s, obs), s.extra(0));
}

inline Outcome open_v1(Simulator &s, const Observation &obs, const Action &) { return {v1(s, obs), is_open(s, obs)}; }
inline Outcome close_v1(Simulator &s, const Observation &obs, const Action &) { return {v1(s, obs), pull_dist(s, obs) <= 0.08}; }

}  // namespace metaworld::door

namespace metaworld::door_open {
using namespace metaworld::door;
constexpr Task TASK = {"door-open-v3", IDS, ATTRIBUTES, objects, open_v1, open_v2};
}  // namespace metaworld::door_open

namespace metaworld::door_close {
using namespace metaworld::door;
constexpr Task TASK = {"door-close-v3", IDS, ATTRIBUTES, objects, close_v1, close_v2};
}  // namespace metaworld::door_close
