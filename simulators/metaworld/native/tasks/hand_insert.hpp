// hand-insert-v3: the hand goes into a hole of the table.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::hand_insert {

enum { OBJ };  // ids
constexpr const char *IDS = "body:obj";
constexpr const char *ATTRIBUTES = "maxReachDist";

inline void objects(Simulator &s, double *out) { put(out, 0, s.body(OBJ), s.body_quat(OBJ)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4);
  const Num target_to_obj = py_float(norm(obj - s.target())), target_to_obj_init = py_float(norm(s.obj_init() - s.target()));
  const Num in_place = tolerance(target_to_obj, 0, 0.05, target_to_obj_init, LONG_TAIL);
  const Num object_grasped = gripper_caging_reward(
      s, action, obj,
      {.obj_radius = 0.015, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.005, .density = HIGH});
  Num reward = hamacher_product(object_grasped, in_place);
  const Num tcp_opened = obs[3], tcp_to_obj = py_float(norm(obj - s.tcp()));
  if (tcp_to_obj < 0.02 && tcp_opened > 0) reward += 1.0 + 7.0 * in_place;
  if (target_to_obj < 0.05) reward = 10.0;
  return {reward, target_to_obj <= 0.05};
}

inline Outcome v1(Simulator &s, const Observation &, const Action &) {
  const Num maxReachDist = s.extra(0);
  const Vec fingerCOM = s.tcp(), goal = s.target();
  const Num reachDist = norm_xy(fingerCOM - goal), reachDist_z = np_abs(fingerCOM[2] - goal[2]);
  Num reachNearRew = 0.0;
  if (reachDist < 0.05) reachNearRew = lift_v1::place(maxReachDist, reachDist_z);
  const bool success = norm(s.obj_init() - goal) <= 0.05;  // sic: never, the hand does not count
  return {-reachDist + py_max(reachNearRew, 0), success};
}

constexpr Task TASK = {"hand-insert-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::hand_insert
