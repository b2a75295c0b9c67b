// pick-place-v3, shelf-place-v3 and basketball-v3: something is grasped, lifted and carried to the goal.
#pragma once
#include "lift_v1.hpp"
#include "pad_caging.hpp"

namespace metaworld::carry {

constexpr const char *ATTRIBUTES = "objHeight heightTarget maxPlacingDist";

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action, double success_radius) {
  const Num objHeight = s.extra(0), heightTarget = s.extra(1), maxPlacingDist = s.extra(2);
  const Vec objPos = obs.vec(4), fingerCOM = s.tcp();
  const Num reachDist = norm(objPos - fingerCOM), placingDist = norm(objPos - s.target());
  const Num zRew = norm({fingerCOM[2] - s.init_tcp()[2]});
  const Num reachRew = lift_v1::reach(reachDist, norm_xy(objPos - fingerCOM), 2 * zRew, 0.05, action);
  const lift_v1::Lift lift(objPos[2], objHeight, heightTarget, placingDist, reachDist);
  const Num pickRew = lift.pickRew(lift.held(), reachDist < 0.1);
  Num placeRew = 0;
  if (lift.held() && reachDist < 0.1) placeRew = py_max(lift_v1::place(maxPlacingDist, placingDist), 0);
  return {lift_v1::sum(reachRew, pickRew, placeRew), placingDist <= success_radius};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) { return v1(s, obs, action, 0.07); }

}  // namespace metaworld::carry

namespace metaworld::pick_place {

enum { OBJ, OBJ_GEOM };  // ids
constexpr const char *IDS = "body:obj geom:objGeom";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.body(OBJ), s.geom_matrix(OBJ_GEOM)); }

inline Num caging_reward(const Simulator &s, const Action &action, Vec obj) {
  const Num y_caging = pad_caging::y(s, obj, 0.015, 0.05), x_z_caging = pad_caging::x_z(s, obj, 0.005);
  const Num gripper_closed = py_min(py_max(0, action[3]), 1);
  const Num caging = hamacher_product(y_caging, x_z_caging);
  const Num gripping = caging > 0.97 ? gripper_closed : Num(0.0);
  return (hamacher_product(caging, gripping) + caging) / 2;
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4), target = s.target();
  const Num tcp_opened = obs[3];
  const Num obj_to_target = py_float(norm(obj - target)), tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num in_place = tolerance(obj_to_target, 0, 0.05, norm(s.obj_init() - target), LONG_TAIL);
  const Num object_grasped = caging_reward(s, action, obj);
  Num reward = hamacher_product(object_grasped, in_place);
  if (tcp_to_obj < 0.02 && tcp_opened > 0 && obj[2] - 0.01 > s.obj_init()[2]) reward += 1.0 + 5.0 * in_place;
  if (obj_to_target < 0.05) reward = 10.0;
  return {reward, obj_to_target <= 0.07};
}

constexpr Task TASK = {"pick-place-v3", IDS, carry::ATTRIBUTES, objects, carry::v1, v2};

}  // namespace metaworld::pick_place

namespace metaworld::shelf_place {

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const double radius = 0.05;
  const Vec obj = obs.vec(4), target = s.target();
  const Num tcp_opened = obs[3];
  const Num obj_to_target = py_float(norm(obj - target)), tcp_to_obj = py_float(norm(obj - s.tcp()));
  Num in_place = tolerance(obj_to_target, 0, radius, norm(s.obj_init() - target), LONG_TAIL);
  const Num object_grasped = gripper_caging_reward(
      s, action, obj, {.obj_radius = 0.02, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.01});
  Num reward = hamacher_product(object_grasped, in_place);
  const bool low = 0.0 < obj[2] && obj[2] < 0.24 && target[0] - 0.15 < obj[0] && obj[0] < target[0] + 0.15;
  if (low && target[1] - 3 * radius < obj[1] && obj[1] < target[1]) {  // in front of the shelf
    const Num z_scaling = (0.24 - obj[2]) / 0.24, y_scaling = (obj[1] - (target[1] - 3 * radius)) / (3 * radius);
    const Num bound_loss = hamacher_product(y_scaling, z_scaling);
    in_place = f64(py_min(py_max(in_place - bound_loss, 0.0), 1.0).value);  // of np.clip: no longer a Python float
  }
  if (low && obj[1] > target[1]) in_place = 0.0;  // under it
  if (tcp_to_obj < 0.025 && tcp_opened > 0 && obj[2] - 0.01 > s.obj_init()[2]) reward += 1.0 + 5.0 * in_place;
  if (obj_to_target < radius) reward = 10.0;
  return {reward, obj_to_target <= 0.07};
}

constexpr Task TASK = {"shelf-place-v3", pick_place::IDS, carry::ATTRIBUTES, pick_place::objects, carry::v1, v2};

}  // namespace metaworld::shelf_place

namespace metaworld::basketball {

enum { BALL };  // ids
constexpr const char *IDS = "body:bsktball";
constexpr double TARGET_RADIUS = 0.08;

inline void objects(Simulator &s, double *out) { put(out, 0, s.body(BALL), s.body_quat(BALL)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4), target = vec(s.target()[0], s.target()[1], 0.3), scale = vec(1.0, 1.0, 2.0);
  const Num target_to_obj = py_float(norm((obj - target) * scale)), target_to_obj_init = norm((s.obj_init() - target) * scale);
  const Num in_place = tolerance(target_to_obj, 0, TARGET_RADIUS, target_to_obj_init, LONG_TAIL);
  const Num tcp_opened = py_float(obs[3]), tcp_to_obj = py_float(norm(obj - s.tcp()));
  Num object_grasped = gripper_caging_reward(
      s, action, obj,
      {.obj_radius = 0.025, .pad_success_thresh = 0.06, .object_reach_radius = 0.01, .xz_thresh = 0.005, .density = HIGH});
  const bool grasped = tcp_to_obj < 0.035 && tcp_opened > 0 && obj[2] - 0.01 > s.obj_init()[2];
  if (grasped) object_grasped = 1.0;
  Num reward = hamacher_product(object_grasped, in_place);
  if (grasped) reward += 1.0 + 5.0 * in_place;
  if (target_to_obj < TARGET_RADIUS) reward = 10.0;
  return {reward, target_to_obj <= TARGET_RADIUS};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) { return carry::v1(s, obs, action, TARGET_RADIUS); }

constexpr Task TASK = {"basketball-v3", IDS, carry::ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::basketball
