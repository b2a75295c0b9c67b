// handle-press-v3, handle-press-side-v3, handle-pull-v3 and handle-pull-side-v3: the handle on a box is pressed down or pulled up.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::handle {

enum { HANDLE };  // ids

inline void objects(Simulator &s, double *out) { put(out, 0, s.site(HANDLE)); }  // stock's rotation is four zeros

inline Outcome v1(Simulator &s, const Observation &obs, double success_radius) {
  const Vec objPos = obs.vec(4), fingerCOM = s.left_finger();  // sic: one finger
  const Num pressDist = np_abs(objPos[2] - s.target()[2]);
  return {pull_v1(norm(objPos - fingerCOM), pressDist, s.extra(0)), pressDist <= success_radius};
}

}  // namespace metaworld::handle

namespace metaworld::handle_press {

constexpr const char *ATTRIBUTES = "maxDist _handle_init_pos";
constexpr double TARGET_RADIUS = 0.02;

inline Outcome v2(Simulator &s, const Observation &, const Action &) {
  const Vec obj = s.site(handle::HANDLE), target = s.target(), handle_init_pos = s.extra_vec(1);
  const Num target_to_obj = norm({obj[2] - target[2]});
  const Num target_to_obj_init = norm({handle_init_pos[2] - target[2]});
  const Num in_place = tolerance(target_to_obj, 0, TARGET_RADIUS, py_abs(target_to_obj_init - TARGET_RADIUS), LONG_TAIL);
  const double handle_radius = 0.02;
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num tcp_to_obj_init = norm(handle_init_pos - s.init_tcp());
  const Num reach = tolerance(tcp_to_obj, 0, handle_radius, py_abs(tcp_to_obj_init - handle_radius), LONG_TAIL);
  Num reward = hamacher_product(reach, in_place);
  if (target_to_obj <= TARGET_RADIUS) reward = 1.0;
  reward *= 10;
  return {reward, target_to_obj <= TARGET_RADIUS};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) { return handle::v1(s, obs, TARGET_RADIUS); }

constexpr Task TASK = {"handle-press-v3", "site:handleStart", ATTRIBUTES, handle::objects, v1, v2};

}  // namespace metaworld::handle_press

namespace metaworld::handle_press_side {

constexpr Task TASK = {
    "handle-press-side-v3", "site:handleStart", handle_press::ATTRIBUTES, handle::objects, handle_press::v1, handle_press::v2};

}  // namespace metaworld::handle_press_side

namespace metaworld::handle_pull {

constexpr const char *ATTRIBUTES = "maxDist";
constexpr double TARGET_RADIUS = 0.05;

struct Pull {
  Num target_to_obj, target_to_obj_init;
  bool lifted;
  Caging caging;
};

inline Num pull(Simulator &s, const Observation &obs, const Action &action, const Pull &p) {
  const Vec obj = obs.vec(4);
  const Num in_place = tolerance(p.target_to_obj, 0, TARGET_RADIUS, p.target_to_obj_init, LONG_TAIL);
  const Num object_grasped = gripper_caging_reward(s, action, obj, p.caging);
  Num reward = hamacher_product(object_grasped, in_place);
  const Num tcp_opened = obs[3];
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  if (tcp_to_obj < 0.035 && tcp_opened > 0 && p.lifted) reward += 1.0 + 5.0 * in_place;
  if (p.target_to_obj < TARGET_RADIUS) reward = 10.0;
  return reward;
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4), target = s.target();
  const Pull p = {
      .target_to_obj = py_abs(target[2] - obj[2]),
      .target_to_obj_init = py_abs(target[2] - s.obj_init()[2]),
      .lifted = obj[1] - 0.01 > s.obj_init()[2],  // sic: y against z, always true
      .caging = {.obj_radius = 0.022, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.01, .density = HIGH}};
  return {pull(s, obs, action, p), p.target_to_obj <= TARGET_RADIUS};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) { return handle::v1(s, obs, TARGET_RADIUS); }

constexpr Task TASK = {"handle-pull-v3", "site:handleRight", ATTRIBUTES, handle::objects, v1, v2};

}  // namespace metaworld::handle_pull

namespace metaworld::handle_pull_side {

constexpr double SUCCESS_RADIUS = 0.08;  // the reward's is handle_pull::TARGET_RADIUS

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4), target = s.target();
  const handle_pull::Pull p = {
      .target_to_obj = norm(obj - target),
      .target_to_obj_init = norm(s.obj_init() - target),
      .lifted = obj[2] - 0.01 > s.obj_init()[2],
      .caging = {.obj_radius = 0.032, .pad_success_thresh = 0.06, .object_reach_radius = 0.01, .xz_thresh = 0.01, .density = HIGH}};
  return {handle_pull::pull(s, obs, action, p), p.target_to_obj <= SUCCESS_RADIUS};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) { return handle::v1(s, obs, SUCCESS_RADIUS); }

constexpr Task TASK = {"handle-pull-side-v3", "site:handleCenter", handle_pull::ATTRIBUTES, handle::objects, v1, v2};

}  // namespace metaworld::handle_pull_side
