// pick-out-of-hole-v3: the puck is taken out of a hole.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::pick_out_of_hole {

enum { OBJ };  // ids
constexpr const char *IDS = "body:obj";
constexpr const char *ATTRIBUTES = "objHeight heightTarget maxPlacingDist";

inline void objects(Simulator &s, double *out) { put(out, 0, s.body(OBJ), s.body_quat(OBJ)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4), gripper = s.tcp(), init = s.obj_init(), target = s.target();
  const Num obj_to_target = py_float(norm(obj - target)), tcp_to_obj = py_float(norm(obj - gripper));
  const Num in_place_margin = py_float(norm(init - target));
  const Num threshold = 0.03, radius = py_float(norm_xy(gripper - init));
  Num floor = 0.0;
  if (!(radius <= threshold)) floor = 0.015 * np_log(radius - threshold) + 0.15;
  const Num above_floor =
      gripper[2] >= floor ? Num(1.0) : tolerance(py_max(floor - gripper[2], 0.0), 0.0, 0.01, 0.02, LONG_TAIL);
  const Num object_grasped = gripper_caging_reward(s, action, obj,
                                                   {.obj_radius = 0.015,
                                                    .pad_success_thresh = 0.02,
                                                    .object_reach_radius = 0.01,
                                                    .xz_thresh = 0.03,
                                                    .density = HIGH,
                                                    .desired_gripper_effort = 0.1});
  const Num in_place = tolerance(obj_to_target, 0, 0.02, in_place_margin, LONG_TAIL);
  Num reward = hamacher_product(object_grasped, in_place);
  const bool near_object = tcp_to_obj < 0.04, pinched_without_obj = obs[3] < 0.33, lifted = obj[2] - 0.02 > init[2];
  if (near_object && lifted && !pinched_without_obj) reward += 1.0 + 5.0 * hamacher_product(in_place, above_floor);
  if (obj_to_target < 0.05) reward = 10.0;
  return {reward, obj_to_target <= 0.07};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num objHeight = s.extra(0), heightTarget = s.extra(1), maxPlacingDist = s.extra(2);
  const Vec objPos = obs.vec(4), fingerCOM = s.tcp();
  const Num reachDist = norm(objPos - fingerCOM), placingDist = norm(objPos - s.target());
  const Num zRew = norm({fingerCOM[2] - s.init_tcp()[2]});
  const Num reachRew = lift_v1::reach(reachDist, norm_xy(objPos - fingerCOM), 2 * zRew, 0.05, action);
  const lift_v1::Lift lift(objPos[2], objHeight, heightTarget, placingDist, reachDist);
  Num pickRew = 0;
  if (lift.held())
    pickRew = 100 * (heightTarget - objHeight + 0.02);
  else if (reachDist < 0.1 && lift.lifted())
    pickRew = 100 * (py_min(heightTarget, objPos[2]) - objHeight + 0.02);
  Num placeRew = 0;
  if (lift.held() && reachDist < 0.1) placeRew = py_max(lift_v1::place(maxPlacingDist, placingDist), 0);
  return {lift_v1::sum(reachRew, pickRew, placeRew), placingDist <= 0.07};
}

constexpr Task TASK = {"pick-out-of-hole-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::pick_out_of_hole
