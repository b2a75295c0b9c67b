// button-press-v3, -wall, -topdown, -topdown-wall and coffee-button-v3: a button is pressed, from the front or from above.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::button_press {

enum { BUTTON };  // ids; the coffee machine's is the site where its button starts
constexpr const char *IDS = "body:button";
constexpr const char *ATTRIBUTES = "_obj_to_target_init maxDist";

inline void front_objects(Simulator &s, double *out) { put(out, 0, s.body(BUTTON) + vec(0.0, -0.193, 0.0), s.body_quat(BUTTON)); }
inline void top_objects(Simulator &s, double *out) { put(out, 0, s.body(BUTTON) + vec(0.0, 0.0, 0.193), s.body_quat(BUTTON)); }
inline void coffee_objects(Simulator &s, double *out) {
  const double quat[4] = {1.0, 0.0, 0.0, 0.0};
  put(out, 0, s.site(BUTTON), quat);
}

struct Distances {
  Num tcp_to_obj, obj_to_target, near_button, button_pressed;
};

inline Distances distances(const Simulator &s, const Observation &obs, int axis, double near) {
  const Vec obj = obs.vec(4);
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num tcp_to_obj_init = py_float(norm(obj - s.init_tcp()));
  const Num obj_to_target = py_abs(s.target()[axis] - obj[axis]);
  return {tcp_to_obj, obj_to_target, tolerance(tcp_to_obj, 0, near, tcp_to_obj_init, LONG_TAIL),
          tolerance(obj_to_target, 0, 0.005, s.extra(0), LONG_TAIL)};
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  const Distances d = distances(s, obs, 1, 0.05);
  const Num tcp_closed = py_max(obs[3], 0.0);
  Num reward = 2 * hamacher_product(tcp_closed, d.near_button);
  if (d.tcp_to_obj <= 0.05) reward += 8 * d.button_pressed;
  return {reward, d.obj_to_target <= 0.02};
}

inline Outcome wall_v2(Simulator &s, const Observation &obs, const Action &) {
  const Distances d = distances(s, obs, 1, 0.01);
  Num reward = 0.0;
  if (d.tcp_to_obj > 0.07) {
    const Num tcp_status = (1 - obs[3]) / 2.0;
    reward = 2 * hamacher_product(tcp_status, d.near_button);
  } else {
    reward = 2;
    reward += 2 * (1 + obs[3]);
    reward += 4 * squared(d.button_pressed);
  }
  return {reward, d.obj_to_target <= 0.03};
}

inline Outcome top_v2(const Simulator &s, const Observation &obs, Num tcp_closed) {
  const Distances d = distances(s, obs, 2, 0.01);
  Num reward = 5 * hamacher_product(tcp_closed, d.near_button);
  if (d.tcp_to_obj <= 0.03) reward += 5 * d.button_pressed;
  return {reward, d.obj_to_target <= 0.024};
}

inline Outcome topdown_v2(Simulator &s, const Observation &obs, const Action &) { return top_v2(s, obs, 1 - obs[3]); }

inline Outcome topdown_wall_v2(Simulator &s, const Observation &obs, const Action &) { return top_v2(s, obs, py_max(obs[3], 0.0)); }

inline Outcome press_v1(const Simulator &s, const Observation &obs, Vec fingerCOM, int axis, double close) {
  const Vec objPos = obs.vec(4);
  const Num pressDist = np_abs(objPos[axis] - s.target()[axis]);
  return {pull_v1(norm(objPos - fingerCOM), pressDist, s.extra(1)), pressDist <= close};
}

// From the front stock takes the left finger alone for fingerCOM.
inline Outcome v1(Simulator &s, const Observation &obs, const Action &) { return press_v1(s, obs, s.left_finger(), 1, 0.02); }
inline Outcome wall_v1(Simulator &s, const Observation &obs, const Action &) { return press_v1(s, obs, s.left_finger(), 1, 0.03); }
inline Outcome top_v1(Simulator &s, const Observation &obs, const Action &) { return press_v1(s, obs, s.tcp(), 2, 0.024); }

constexpr Task TASK = {"button-press-v3", IDS, ATTRIBUTES, front_objects, v1, v2};

}  // namespace metaworld::button_press

namespace metaworld::button_press_wall {
using namespace metaworld::button_press;
constexpr Task TASK = {"button-press-wall-v3", IDS, ATTRIBUTES, front_objects, wall_v1, wall_v2};
}  // namespace metaworld::button_press_wall

namespace metaworld::button_press_topdown {
using namespace metaworld::button_press;
constexpr Task TASK = {"button-press-topdown-v3", IDS, ATTRIBUTES, top_objects, top_v1, topdown_v2};
}  // namespace metaworld::button_press_topdown

namespace metaworld::button_press_topdown_wall {
using namespace metaworld::button_press;
constexpr Task TASK = {"button-press-topdown-wall-v3", IDS, ATTRIBUTES, top_objects, top_v1, topdown_wall_v2};
}  // namespace metaworld::button_press_topdown_wall

namespace metaworld::coffee_button {
using namespace metaworld::button_press;
constexpr Task TASK = {"coffee-button-v3", "site:buttonStart", "max_dist maxDist", coffee_objects, v1, v2};
}  // namespace metaworld::coffee_button
