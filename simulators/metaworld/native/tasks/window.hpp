// window-open-v3 and window-close-v3: the window is slid by its handle.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::window {

enum { HANDLE };  // ids
constexpr const char *ATTRIBUTES = "window_handle_pos_init maxPullDist";
constexpr double TARGET_RADIUS = 0.05;

inline void objects(Simulator &s, double *out) { put(out, 0, s.site(HANDLE)); }  // stock's rotation is four zeros

inline Outcome slide(Simulator &s, Num x_init, Sigmoid reach_sigmoid) {
  const Vec obj = s.site(HANDLE), target = s.target(), window_handle_pos_init = s.extra_vec(0);
  const Num target_to_obj = py_float(norm({obj[0] - target[0]}));
  const Num target_to_obj_init = py_float(norm({x_init - target[0]}));
  const Num in_place = tolerance(target_to_obj, 0, TARGET_RADIUS, py_abs(target_to_obj_init - TARGET_RADIUS), LONG_TAIL);
  const double handle_radius = 0.02;
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num tcp_to_obj_init = py_float(norm(window_handle_pos_init - s.init_tcp()));
  const Num reach = tolerance(tcp_to_obj, 0, handle_radius, py_abs(tcp_to_obj_init - handle_radius), reach_sigmoid);
  return {10 * hamacher_product(reach, in_place), target_to_obj <= TARGET_RADIUS};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Num maxPullDist = s.extra(3);
  const Vec objPos = obs.vec(4);
  const Num pullDist = np_abs(objPos[0] - s.target()[0]);
  const Num reachDist = norm(objPos - s.tcp());
  Num pullRew = 0;
  if (reachDist < 0.05) pullRew = lift_v1::place(maxPullDist, pullDist);  // sic: may be negative, unlike in other tasks
  return {-reachDist + pullRew, pullDist <= TARGET_RADIUS};
}

}  // namespace metaworld::window

namespace metaworld::window_open {

inline Outcome v2(Simulator &s, const Observation &, const Action &) { return window::slide(s, s.obj_init()[0], LONG_TAIL); }

constexpr Task TASK = {"window-open-v3", "site:handleOpenStart", window::ATTRIBUTES, window::objects, window::v1, v2};

}  // namespace metaworld::window_open

namespace metaworld::window_close {

inline Outcome v2(Simulator &s, const Observation &, const Action &) { return window::slide(s, s.extra_vec(0)[0], GAUSSIAN); }

constexpr Task TASK = {"window-close-v3", "site:handleCloseStart", window::ATTRIBUTES, window::objects, window::v1, v2};

}  // namespace metaworld::window_close
