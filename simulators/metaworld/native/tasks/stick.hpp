// stick-push-v3 and stick-pull-v3: a stick is taken and with it a thermos pushed or pulled.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::stick {

enum { STICK, INSERTION, STICK_END, OBJ_GEOM };  // ids
constexpr const char *IDS = "body:stick site:insertion site:stick_end geom:objGeom";

inline bool held(Num tcp_to_stick, Num tcp_opened, Vec stick, Vec stick_init_pos) {
  return tcp_to_stick < 0.02 && tcp_opened > 0 && stick[2] - 0.01 > stick_init_pos[2];
}

struct V1 {  // the two differ in what they do when the stick has come to the thermos
  Num reachRew, pickRew, dist, placeDist;
  bool held;

  // objPos is obs[6:9] in stock: not the thermos but the stick's z and the first two numbers of its rotation.
  V1(Simulator &s, const Observation &obs, const Action &action, Num stickHeight, Num heightTarget) {
    const Vec stickPos = obs.vec(4), objPos = obs.vec(6);
    dist = norm_xy(objPos - s.target());
    placeDist = norm(objPos - stickPos);
    const Num reachDist = norm(stickPos - s.tcp());
    reachRew = -reachDist;
    if (reachDist < 0.05) reachRew = -reachDist + py_max(action[3], 0) / 50;
    const lift_v1::Lift lift(stickPos[2], stickHeight, heightTarget, dist, reachDist);
    pickRew = lift.pickRew(lift.held(), reachDist < 0.1);
    held = lift.held() && reachDist < 0.1;
  }
};

}  // namespace metaworld::stick

namespace metaworld::stick_push {

using namespace stick;

constexpr const char *ATTRIBUTES = "stick_init_pos stickHeight heightTarget maxPlaceDist maxPushDist";

inline void objects(Simulator &s, double *out) {
  put_rotation(out, 0, s.body(STICK), s.body_matrix(STICK));
  put(out, 1, s.site(INSERTION) + vec(0.0, 0.09, 0.0));
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec stick_init_pos = s.extra_vec(0), target = s.target();
  const Vec stick = obs.vec(4) + vec(0.015, 0.0, 0.0), container = obs.vec(11);
  const Num tcp_opened = obs[3];
  const Num tcp_to_stick = py_float(norm(stick - s.tcp())), stick_to_target = py_float(norm(stick - target));
  const Num stick_in_place_margin = py_float(norm(stick_init_pos - target) - 0.12);
  const Num stick_in_place = tolerance(stick_to_target, 0, 0.12, stick_in_place_margin, LONG_TAIL);
  const Num container_to_target = py_float(norm(container - target));
  const Num container_in_place_margin = py_float(norm(s.obj_init() - target) - 0.12);
  const Num container_in_place = tolerance(container_to_target, 0, 0.12, container_in_place_margin, LONG_TAIL);
  Num reward = gripper_caging_reward(  // stock overrides it to start from the stick's, not the object's initial position
      s, action, stick, stick_init_pos,
      {.obj_radius = 0.04, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.01, .density = HIGH});
  if (held(tcp_to_stick, tcp_opened, stick, stick_init_pos)) {
    reward = 2.0 + 5.0 * stick_in_place + 3.0 * container_in_place;
    if (container_to_target <= 0.12) reward = 10.0;
  }
  const bool grasp_success = s.touching(s.id[OBJ_GEOM]) && tcp_opened > 0 && obs[6] - 0.01 > stick_init_pos[2];
  return {reward, grasp_success && norm(container - target) <= 0.12};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num stickHeight = s.extra(3), heightTarget = s.extra(4), maxPlaceDist = s.extra(5), maxPushDist = s.extra(6);
  const V1 v(s, obs, action, stickHeight, heightTarget);
  Num pushRew = 0;
  if (v.held) {
    pushRew = lift_v1::place(maxPlaceDist, v.placeDist);
    if (v.placeDist < 0.05) pushRew += 1000 * (maxPushDist - v.dist) + lift_v1::near(v.dist, 2000, 0.001, 0.0001);
    pushRew = py_max(pushRew, 0);
  }
  return {lift_v1::sum(v.reachRew, v.pickRew, pushRew), false};  // never a success: v1 says that the gripper is not open
}

constexpr Task TASK = {"stick-push-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::stick_push

namespace metaworld::stick_pull {

using namespace stick;

constexpr const char *ATTRIBUTES = "stick_init_pos stickHeight heightTarget maxPlaceDist maxPullDist";

inline void objects(Simulator &s, double *out) {
  put_rotation(out, 0, s.body(STICK), s.body_matrix(STICK));
  put(out, 1, s.site(INSERTION));
}

inline bool stick_is_inserted(Vec handle, Vec end_of_stick) {
  return end_of_stick[0] >= handle[0] && np_abs(end_of_stick[1] - handle[1]) <= 0.040 &&
         np_abs(end_of_stick[2] - handle[2]) <= 0.060;
}

inline bool success(const Simulator &s, const Observation &obs) {
  const Vec handle = obs.vec(11);
  return norm(handle - s.target()) <= 0.12 && stick_is_inserted(handle, s.site(STICK_END));
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec stick_init_pos = s.extra_vec(0), target = s.target(), stick = obs.vec(4), handle = obs.vec(11);
  const Vec container = handle + vec(0.05, 0.0, 0.0), container_init_pos = s.obj_init() + vec(0.05, 0.0, 0.0);
  const Num tcp_opened = obs[3];
  const Num tcp_to_stick = py_float(norm(stick - s.tcp())), handle_to_target = py_float(norm(handle - target));
  const Vec yz_scaling = vec(1.0, 1.0, 2.0);
  const Num stick_to_container = py_float(norm((stick - container) * yz_scaling));
  const Num stick_in_place_margin = py_float(norm((stick_init_pos - container_init_pos) * yz_scaling));
  const Num stick_in_place = tolerance(stick_to_container, 0, 0.05, stick_in_place_margin, LONG_TAIL);
  const Num stick_to_target = py_float(norm(stick - target));
  const Num stick_in_place_margin_2 = py_float(norm(stick_init_pos - target));
  const Num stick_in_place_2 = tolerance(stick_to_target, 0, 0.05, stick_in_place_margin_2, LONG_TAIL);
  const Num container_to_target = py_float(norm(container - target));
  const Num container_in_place_margin = py_float(norm(s.obj_init() - target));
  const Num container_in_place = tolerance(container_to_target, 0, 0.05, container_in_place_margin, LONG_TAIL);
  Num object_grasped = gripper_caging_reward(
      s, action, stick,
      {.obj_radius = 0.014, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.01, .density = HIGH});
  const bool grasp_success = held(tcp_to_stick, tcp_opened, stick, stick_init_pos);
  if (grasp_success) object_grasped = 1;
  const Num in_place_and_object_grasped = hamacher_product(object_grasped, stick_in_place);
  Num reward = in_place_and_object_grasped;
  if (grasp_success) {
    reward = 1.0 + in_place_and_object_grasped + 5.0 * stick_in_place;
    if (stick_is_inserted(handle, s.site(STICK_END))) {
      reward = 1.0 + in_place_and_object_grasped + 5.0 + 2.0 * stick_in_place_2 + 1.0 * container_in_place;
      if (handle_to_target <= 0.12) reward = 10.0;
    }
  }
  return {reward, success(s, obs)};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num stickHeight = s.extra(3), heightTarget = s.extra(4), maxPlaceDist = s.extra(5), maxPullDist = s.extra(6);
  const V1 v(s, obs, action, stickHeight, heightTarget);
  Num pullRew = 0;
  if (v.held) {
    pullRew = lift_v1::place(maxPlaceDist, v.placeDist);
    if (v.placeDist < 0.05) pullRew += 1000 * (maxPullDist - v.dist) + lift_v1::near(v.dist, 2000);
    pullRew = py_max(pullRew, 0);
  }
  return {lift_v1::sum(v.reachRew, v.pickRew, pullRew), success(s, obs)};
}

constexpr Task TASK = {"stick-pull-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::stick_pull
