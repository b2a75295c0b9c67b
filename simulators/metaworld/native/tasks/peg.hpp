// peg-insert-side-v3 and peg-unplug-side-v3: a peg goes into a hole from the side, or out of it.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::peg_insert_side {

enum { GRASP, HEAD, BRC_1, TLC_1, BRC_2, TLC_2 };  // ids
constexpr const char *IDS =
    "site:pegGrasp site:pegHead site:bottom_right_corner_collision_box_1 site:top_left_corner_collision_box_1 "
    "site:bottom_right_corner_collision_box_2 site:top_left_corner_collision_box_2";
constexpr const char *ATTRIBUTES = "peg_head_pos_init objHeight heightTarget maxPlacingDist";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.site(GRASP), s.site_matrix(GRASP)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec peg_head_pos_init = s.extra_vec(0), obj = obs.vec(4), obj_head = s.site(HEAD), target = s.target();
  const Num tcp_opened = obs[3];
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Vec scale = vec(1.0, 2.0, 2.0);
  const Num obj_to_target = py_float(norm((obj_head - target) * scale));
  const Num in_place_margin = py_float(norm((peg_head_pos_init - target) * scale));
  Num in_place = tolerance(obj_to_target, 0, 0.07, in_place_margin, LONG_TAIL);
  const Num collision_box_bottom_1 = rect_prism_tolerance(obj_head, s.site(BRC_1), s.site(TLC_1));
  const Num collision_box_bottom_2 = rect_prism_tolerance(obj_head, s.site(BRC_2), s.site(TLC_2));
  const Num collision_boxes = hamacher_product(collision_box_bottom_2, collision_box_bottom_1);
  in_place = hamacher_product(in_place, collision_boxes);
  Num object_grasped = gripper_caging_reward(
      s, action, obj,
      {.obj_radius = 0.0075, .pad_success_thresh = 0.03, .object_reach_radius = 0.01, .xz_thresh = 0.005, .density = HIGH});
  const bool held = tcp_to_obj < 0.08 && tcp_opened > 0 && obj[2] - 0.01 > s.obj_init()[2];
  if (held) object_grasped = 1.0;
  Num reward = hamacher_product(object_grasped, in_place);
  if (held) reward += 1.0 + 5 * in_place;
  if (obj_to_target <= 0.07) reward = 10.0;
  return {reward, obj_to_target <= 0.07};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num objHeight = s.extra(3), heightTarget = s.extra(4), maxPlacingDist = s.extra(5);
  const Vec objPos = obs.vec(4), fingerCOM = s.tcp(), placingGoal = s.target();
  const Num reachDist = norm(objPos - fingerCOM);
  const Num placingDistHead = norm(s.site(HEAD) - placingGoal), placingDist = norm(objPos - placingGoal);
  const Num zRew = norm({fingerCOM[2] - s.init_tcp()[2]});
  const Num reachRew = lift_v1::reach(reachDist, norm_xy(objPos - fingerCOM), zRew, 0.05, action);
  const lift_v1::Lift lift(objPos[2], objHeight, heightTarget, placingDist, reachDist);
  const Num pickRew = lift.pickRew(lift.held(), reachDist < 0.1);
  Num placeRew = 0;
  if (lift.held() && reachDist < 0.1)
    placeRew = py_max(lift_v1::place(maxPlacingDist, placingDistHead <= 0.05 ? placingDist : placingDistHead), 0);
  return {lift_v1::sum(reachRew, pickRew, placeRew), placingDist <= 0.07};
}

constexpr Task TASK = {"peg-insert-side-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::peg_insert_side

namespace metaworld::peg_unplug_side {

enum { END, PLUG };  // ids
constexpr const char *IDS = "site:pegEnd body:plug1";
constexpr const char *ATTRIBUTES = "maxPlacingDist";

inline void objects(Simulator &s, double *out) { put(out, 0, s.site(END), s.body_quat(PLUG)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4), target = s.target();
  const Num tcp_opened = obs[3];
  const Num tcp_to_obj = py_float(norm(obj - s.tcp())), obj_to_target = py_float(norm(obj - target));
  const Num object_grasped = gripper_caging_reward(s, action, obj,
                                                   {.obj_radius = 0.025,
                                                    .pad_success_thresh = 0.05,
                                                    .object_reach_radius = 0.01,
                                                    .xz_thresh = 0.005,
                                                    .density = HIGH,
                                                    .desired_gripper_effort = 0.8});
  const Num in_place_margin = py_float(norm(s.obj_init() - target));
  const Num in_place = tolerance(obj_to_target, 0, 0.05, in_place_margin, LONG_TAIL);
  const bool grasp_success = tcp_opened > 0.5 && obj[0] - s.obj_init()[0] > 0.015;
  Num reward = 2 * object_grasped;
  if (grasp_success && tcp_to_obj < 0.035) reward = 1 + 2 * object_grasped + 5 * in_place;
  if (obj_to_target <= 0.05) reward = 10.0;
  return {reward, obj_to_target <= 0.07};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num maxPlacingDist = s.extra(0);
  const Vec objPos = obs.vec(4), fingerCOM = s.tcp();
  const Num reachDist = norm(objPos - fingerCOM);
  const Num placingDist = norm_xy(objPos - s.target());
  const Num zRew = norm({fingerCOM[2] - s.hand_init()[2]});
  const Num reachRew = lift_v1::reach(reachDist, norm_xy(objPos - fingerCOM), 2 * zRew, 0.05, action);
  Num placeRew = 0;
  if (reachDist < 0.05) placeRew = py_max(lift_v1::place(maxPlacingDist, placingDist), 0);
  return {reachRew + placeRew, placingDist <= 0.07};
}

constexpr Task TASK = {"peg-unplug-side-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::peg_unplug_side
