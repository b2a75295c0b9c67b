// bin-picking-v3: a cube is carried from one bin to the other.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::bin_picking {

enum { OBJ };  // ids
constexpr const char *IDS = "body:obj";
constexpr const char *ATTRIBUTES = "objHeight heightTarget maxPlacingDist";
constexpr int TARGET_TO_OBJ_INIT = 3;  // after the attributes; NaN, which means stock's None, until the first v2 of an episode

inline void objects(Simulator &s, double *out) { put(out, 0, s.body(OBJ), s.body_quat(OBJ)); }

inline Num funnel(Vec hand, Vec center) {
  const Num threshold = 0.03, radius = norm_xy(hand - center);
  return radius > threshold ? 0.02 * np_log(radius - threshold) + 0.2 : Num(0.0);
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec hand = obs.vec(0), obj = obs.vec(4), init = s.obj_init(), target = s.target();
  const Num target_to_obj = py_float(norm(obj - target));
  double &target_to_obj_init = s.constants.extra[TARGET_TO_OBJ_INIT];
  if (std::isnan(target_to_obj_init)) target_to_obj_init = target_to_obj.value;
  const Num in_place = tolerance(target_to_obj, 0, 0.05, target_to_obj_init, LONG_TAIL);
  const Num floor = py_min(funnel(hand, init), funnel(hand, target));
  const Num above_floor = hand[2] >= floor ? Num(1.0) : tolerance(py_max(floor - hand[2], 0.0), 0.0, 0.01, 0.05, LONG_TAIL);
  const Num object_grasped = gripper_caging_reward(s, action, obj,
                                                   {.obj_radius = 0.015,
                                                    .pad_success_thresh = 0.05,
                                                    .object_reach_radius = 0.01,
                                                    .xz_thresh = 0.01,
                                                    .density = HIGH,
                                                    .desired_gripper_effort = 0.7});
  Num reward = hamacher_product(object_grasped, in_place);
  const bool near_object = norm(obj - hand) < 0.04, pinched_without_obj = obs[3] < 0.43, lifted = obj[2] - 0.02 > init[2];
  if (near_object && lifted && !pinched_without_obj) reward += 1.0 + 5.0 * hamacher_product(above_floor, in_place);
  if (target_to_obj < 0.05) reward = 10.0;
  return {reward, target_to_obj <= 0.05};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num objHeight = s.extra(0), heightTarget = s.extra(1), maxPlacingDist = s.extra(2);
  const Vec objPos = obs.vec(4), fingerCOM = s.tcp(), placingGoal = s.target();
  const Num reachDist = norm(objPos - fingerCOM), placingDist = norm_xy(objPos - placingGoal);
  const Num reachDistxy = norm_xy(objPos - fingerCOM), zRew = norm({fingerCOM[2] - s.init_tcp()[2]});
  Num reachRew = reachDistxy < 0.06 ? -reachDist : -reachDistxy - zRew;
  if (reachDist < 0.05) reachRew = -reachDist + py_max(action[3], 0) / 50;
  const lift_v1::Lift lift(objPos[2], objHeight, heightTarget, placingDist, reachDist);
  const bool over_goal = py_abs(objPos[0] - placingGoal[0]) < 0.05 && py_abs(objPos[1] - placingGoal[1]) < 0.05;
  const bool placeCompleted = over_goal && objPos[2] < objHeight + 0.05;
  const Num pickRew = lift.pickRew(placeCompleted || lift.held(), reachDist < 0.1);
  Num placeRew = py_max(lift_v1::place(maxPlacingDist, placingDist), 0);
  const bool success = placingDist <= 0.05;
  if (placeCompleted) return {-200 * action[3] + placeRew, success};
  if (!(lift.held() && reachDist < 0.1))
    placeRew = 0;
  else if (over_goal)
    placeRew = -200 * action[3] + placeRew;
  return {reachRew + pickRew + placeRew, success};
}

constexpr Task TASK = {"bin-picking-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::bin_picking
