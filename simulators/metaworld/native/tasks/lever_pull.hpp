// lever-pull-v3: a lever is turned up with the shoulder of the hand.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::lever_pull {

enum { START, OBJ_GEOM, AXIS };  // ids
constexpr const char *IDS = "site:leverStart geom:objGeom joint:LeverAxis";
constexpr const char *ATTRIBUTES = "_lever_pos_init maxPullDist";
constexpr double PI = 3.141592653589793;

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.site(START), s.geom_matrix(OBJ_GEOM)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  const Vec lever_pos_init = s.extra_vec(0), gripper = obs.vec(0), lever = obs.vec(4), target = s.target();
  const Vec scale = vec(4.0, 1.0, 4.0), offset = vec(0.0, 0.055, 0.07);
  const Vec shoulder_to_lever = (gripper + offset - lever) * scale;
  const Vec shoulder_to_lever_init = (s.init_tcp() + offset - lever_pos_init) * scale;
  const Num ready_to_lift = tolerance(py_float(norm(shoulder_to_lever)), 0, 0.02, norm(shoulder_to_lever_init), LONG_TAIL);
  const Num lever_angle = py_float(-s.qpos(AXIS));
  const Num lever_error = py_abs(lever_angle - PI / 2.0);
  const Num obj_to_target = py_float(norm(lever - target)), in_place_margin = py_float(norm(lever_pos_init - target));
  const Num in_place = tolerance(obj_to_target, 0, 0.04, in_place_margin, LONG_TAIL);
  return {10.0 * hamacher_product(ready_to_lift, in_place), lever_error <= PI / 24};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Num maxPullDist = s.extra(3);
  const Vec objPos = obs.vec(4);
  const Num pullDist = norm(objPos - s.target()), reachDist = norm(objPos - s.tcp());
  Num pullRew = 0;
  if (reachDist < 0.05) pullRew = py_max(lift_v1::place(maxPullDist, pullDist), 0);
  return {-reachDist + pullRew, pullDist <= PI / 24};  // stock holds a distance to the limit of an angle here
}

constexpr Task TASK = {"lever-pull-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::lever_pull
