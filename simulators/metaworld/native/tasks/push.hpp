// push-v3: the puck is pushed to the goal.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::push {

enum { OBJ, OBJ_GEOM };  // ids
constexpr const char *IDS = "body:obj geom:objGeom";
constexpr const char *ATTRIBUTES = "maxPushDist";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.body(OBJ), s.geom_matrix(OBJ_GEOM)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4);
  const Num tcp_opened = obs[3];
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num target_to_obj = py_float(norm(obj - s.target()));
  const Num target_to_obj_init = py_float(norm(s.obj_init() - s.target()));
  const Num in_place = tolerance(target_to_obj, 0, 0.05, target_to_obj_init, LONG_TAIL);
  const Num object_grasped = gripper_caging_reward(
      s, action, obj,
      {.obj_radius = 0.015, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.005, .density = HIGH});
  Num reward = 2 * object_grasped;
  if (tcp_to_obj < 0.02 && tcp_opened > 0) reward += 1.0 + reward + 5.0 * in_place;
  if (target_to_obj < 0.05) reward = 10.0;
  return {reward, target_to_obj <= 0.05};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec obj = obs.vec(4);
  const Num pushDist = norm_xy(obj - s.target());
  return {pull_v1(norm(s.tcp() - obj), pushDist, s.extra(0)), pushDist <= 0.05};
}

constexpr Task TASK = {"push-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::push
