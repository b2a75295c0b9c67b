// push-back-v3, soccer-v3, sweep-v3 and sweep-into-v3: something is moved over the table between the pads.
#pragma once
#include "lift_v1.hpp"
#include "pad_caging.hpp"
#include "pull_v1.hpp"

namespace metaworld::push_back {

enum { OBJ_GEOM };  // ids
constexpr const char *IDS = "geom:objGeom";
constexpr const char *ATTRIBUTES = "maxPushDist";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.geom(OBJ_GEOM), s.geom_matrix(OBJ_GEOM)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  const Vec obj = obs.vec(4);
  const Num tcp_opened = obs[3], tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num target_to_obj = py_float(norm(obj - s.target())), target_to_obj_init = py_float(norm(s.obj_init() - s.target()));
  const Num in_place = tolerance(target_to_obj, 0, 0.05, target_to_obj_init, LONG_TAIL);
  const Num object_grasped = pad_caging::reward(s, obj, 0.007, 0.007 + 0.003, 0.01);
  Num reward = hamacher_product(object_grasped, in_place);
  if (tcp_to_obj < 0.01 && 0 < tcp_opened && tcp_opened < 0.55 && target_to_obj_init - target_to_obj > 0.01) {
    reward += 1.0 + 5.0 * in_place;
  }
  if (target_to_obj < 0.05) reward = 10.0;
  return {reward, target_to_obj <= 0.07};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Num maxPushDist = s.extra(0);
  const Vec objPos = obs.vec(4);
  const Num reachDist = norm(s.tcp() - objPos), pushDist = norm_xy(objPos - s.target());
  return {pull_v1(reachDist, pushDist, maxPushDist), pushDist <= 0.07};
}

constexpr Task TASK = {"push-back-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::push_back

namespace metaworld::soccer {

enum { BALL };  // ids
constexpr const char *IDS = "body:soccer_ball";
constexpr double TARGET_RADIUS = 0.07;

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.body(BALL), s.body_matrix(BALL)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  const Vec obj = obs.vec(4), target = s.target(), x_scaling = vec(3.0, 1.0, 1.0);
  const Num target_to_obj = py_float(norm((obj - target) * x_scaling));
  const Num target_to_obj_init = py_float(norm((obj - s.obj_init()) * x_scaling));  // sic: from the ball, not from the goal
  Num in_place = tolerance(target_to_obj, 0, TARGET_RADIUS, target_to_obj_init, LONG_TAIL);
  const Num goal_line = target[1] - 0.1;
  if (obj[1] > goal_line && py_abs(obj[0] - target[0]) > 0.10) {
    in_place = py_min(py_max(in_place - 2 * ((obj[1] - goal_line) / (1 - goal_line)), 0.0), 1.0);
  }
  const Num object_grasped = pad_caging::reward(s, obj, 0.013, 0.013 + 0.01, 0.005);
  Num reward = 3 * object_grasped + 6.5 * in_place;
  if (target_to_obj < TARGET_RADIUS) reward = 10.0;
  return {reward, norm(obj - target) <= 0.07};
}

constexpr Task TASK = {"soccer-v3", IDS, push_back::ATTRIBUTES, objects, push_back::v1, v2};

}  // namespace metaworld::soccer

namespace metaworld::sweep {

enum { OBJ };  // ids
constexpr const char *IDS = "body:obj";

inline void objects(Simulator &s, double *out) { put(out, 0, s.body(OBJ), s.body_quat(OBJ)); }

inline Outcome to_target(Simulator &s, Vec obj, Vec target, double grip_success_margin, double x_z_success_margin) {
  const Num obj_to_target = py_float(norm(obj - target));
  const Num in_place = tolerance(obj_to_target, 0, 0.05, norm(s.obj_init() - target), LONG_TAIL);
  const Num object_grasped = pad_caging::reward(s, obj, 0.02, grip_success_margin, x_z_success_margin);
  Num reward = 2 * object_grasped + 6 * hamacher_product(object_grasped, in_place);
  if (obj_to_target < 0.05) reward = 10.0;
  return {reward, obj_to_target <= 0.05};
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  return to_target(s, obs.vec(4), s.target(), 0.02 + 0.01, 0.005);
}

// What has fallen below the table is at the goal, and if it is still near the fingers that is rewarded.
inline Outcome fallen_v1(Simulator &s, Vec objPos, bool fallen) {
  const Num maxPushDist = s.extra(0);
  const Num reachDist = norm(s.tcp() - objPos), reachRew = fallen ? Num(0.0) : -reachDist;
  const Num pushDist = fallen ? Num(0.0) : norm_xy(objPos - s.target());
  Num pushRew = 0;
  if (reachDist < 0.05) pushRew = py_max(lift_v1::place(maxPushDist, pushDist), 0);
  return {reachRew + pushRew, pushDist <= 0.05};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec objPos = obs.vec(4);
  return fallen_v1(s, objPos, objPos[2] < s.obj_init()[2] - 0.05);
}

constexpr Task TASK = {"sweep-v3", IDS, push_back::ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::sweep

namespace metaworld::sweep_into {

enum { OBJ, OBJ_GEOM };  // ids
constexpr const char *IDS = "body:obj geom:objGeom";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.body(OBJ), s.geom_matrix(OBJ_GEOM)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  const Vec obj = obs.vec(4);
  return sweep::to_target(s, obj, vec(s.target()[0], s.target()[1], obj[2]), 0.02 + 0.005, 0.01);
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec objPos = obs.vec(4);
  return sweep::fallen_v1(s, objPos, objPos[2] < s.obj_init()[2] - 0.05 && 0.4 < objPos[1] && objPos[1] < 1.0);
}

constexpr Task TASK = {"sweep-into-v3", IDS, push_back::ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::sweep_into
