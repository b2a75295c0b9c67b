// dial-turn-v3: a dial is turned with closed fingers.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::dial_turn {

enum { DIAL, KNOB };  // ids
constexpr const char *IDS = "body:dial joint:knob_Joint_1";
constexpr const char *ATTRIBUTES = "dial_push_position maxPullDist";

inline Vec pos_objects(const Simulator &s) {
  const Num angle = s.qpos(KNOB);
  return s.body(DIAL) + vec(np_sin(angle), -np_cos(angle), 0.0) * 0.05;
}
inline void objects(Simulator &s, double *out) { put(out, 0, pos_objects(s), s.body_quat(DIAL)); }

inline Outcome v2(Simulator &s, const Observation &, const Action &action) {
  const Vec dial_push_init = s.extra_vec(0), target = s.target();  // stock: self.dial_push_position
  const Vec obj = pos_objects(s), dial_push_position = obj + vec(0.05, 0.02, 0.09);
  const Num target_to_obj = py_float(norm(obj - target)), target_to_obj_init = norm(dial_push_init - target);
  const Num in_place = tolerance(target_to_obj, 0, 0.07, py_abs(target_to_obj_init - 0.07), LONG_TAIL);
  const Num tcp_to_obj = py_float(norm(dial_push_position - s.tcp()));
  const Num tcp_to_obj_init = py_float(norm(dial_push_init - s.init_tcp()));
  Num reach = tolerance(tcp_to_obj, 0, 0.005, py_abs(tcp_to_obj_init - 0.005), GAUSSIAN);
  const Num gripper_closed = py_min(py_max(0, action[3]), 1);
  reach = hamacher_product(reach, gripper_closed);
  return {10 * hamacher_product(reach, in_place), target_to_obj <= 0.07};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Num maxPullDist = s.extra(3);
  const Vec objPos = obs.vec(4);
  const Num pullDist = np_abs(objPos[1] - s.target()[1]), reachDist = norm(objPos - s.tcp());
  Num pullRew = 0;
  if (reachDist < 0.05) pullRew = py_max(1000 * (maxPullDist - pullDist) + lift_v1::near(pullDist, 1000, 0.001, 0.0001), 0);
  return {-reachDist + pullRew, pullDist <= 0.07};
}

constexpr Task TASK = {"dial-turn-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::dial_turn
