// drawer-open-v3 and drawer-close-v3: the drawer is pulled out by its handle, or pushed in.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::drawer {

enum { DRAWER_LINK };  // ids
constexpr const char *IDS = "body:drawer_link";
constexpr const char *ATTRIBUTES = "maxDist";

inline void open_objects(Simulator &s, double *out) {
  put(out, 0, s.body(DRAWER_LINK) + vec(0.0, -0.16, 0.0), s.body_quat(DRAWER_LINK));
}
inline void close_objects(Simulator &s, double *out) { put(out, 0, s.body(DRAWER_LINK) + vec(0.0, -0.16, 0.05)); }

inline Outcome open_v2(Simulator &s, const Observation &obs, const Action &) {
  const Num maxDist = s.extra(0);
  const Vec gripper = obs.vec(0), handle = obs.vec(4);
  const Num handle_error = py_float(norm(handle - s.target()));
  const Num reward_for_opening = tolerance(handle_error, 0, 0.02, maxDist, LONG_TAIL);
  const Vec handle_pos_init = s.target() + vec(0.0, maxDist, 0.0);
  const Vec scale = vec(3.0, 3.0, 1.0);
  const Vec gripper_error = (handle - gripper) * scale;
  const Vec gripper_error_init = (handle_pos_init - s.init_tcp()) * scale;
  const Num reward_for_caging = tolerance(py_float(norm(gripper_error)), 0, 0.01, norm(gripper_error_init), LONG_TAIL);
  return {(reward_for_caging + reward_for_opening) * 5.0, handle_error <= 0.03};
}

inline Outcome close_v2(Simulator &s, const Observation &obs, const Action &action) {
  const double TARGET_RADIUS = 0.05;  // the base class's; the task's own _TARGET_RADIUS is not read
  const double handle_reach_radius = 0.005;
  const Vec obj = obs.vec(4), target = s.target();
  const Num target_to_obj = norm(obj - target);
  const Num target_to_obj_init = norm(s.obj_init() - target);
  const Num in_place = tolerance(target_to_obj, 0, TARGET_RADIUS, py_abs(target_to_obj_init - TARGET_RADIUS), LONG_TAIL);
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num tcp_to_obj_init = norm(s.obj_init() - s.init_tcp());
  const Num near = tolerance(tcp_to_obj, 0, handle_reach_radius, py_abs(tcp_to_obj_init - handle_reach_radius), GAUSSIAN);
  const Num gripper_closed = py_min(py_max(0, action[3]), 1);
  const Num reach = hamacher_product(near, gripper_closed);
  const bool closed = target_to_obj <= TARGET_RADIUS + 0.015;
  Num reward = hamacher_product(reach, in_place);
  if (closed) reward = 1.0;
  return {reward * 10, closed};
}

inline Outcome v1(const Simulator &s, const Observation &obs, double close) {
  const Vec objPos = obs.vec(4);
  const Num pullDist = np_abs(objPos[1] - s.target()[1]);
  return {pull_v1(norm(objPos - s.tcp()), pullDist, s.extra(0)), pullDist <= close};
}

inline Outcome open_v1(Simulator &s, const Observation &obs, const Action &) { return v1(s, obs, 0.03); }
inline Outcome close_v1(Simulator &s, const Observation &obs, const Action &) { return v1(s, obs, 0.05 + 0.015); }

}  // namespace metaworld::drawer

namespace metaworld::drawer_open {
using namespace metaworld::drawer;
constexpr Task TASK = {"drawer-open-v3", IDS, ATTRIBUTES, open_objects, open_v1, open_v2};
}  // namespace metaworld::drawer_open

namespace metaworld::drawer_close {
using namespace metaworld::drawer;
constexpr Task TASK = {"drawer-close-v3", IDS, ATTRIBUTES, close_objects, close_v1, close_v2};
}  // namespace metaworld::drawer_close
