// reach-v3 and reach-wall-v3: the hand goes to the goal.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::reach {

enum { OBJ, OBJ_GEOM };  // ids
constexpr const char *IDS = "body:obj geom:objGeom";
constexpr const char *ATTRIBUTES = "maxReachDist";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.body(OBJ), s.geom_matrix(OBJ_GEOM)); }

inline Outcome v2(Simulator &s, const Observation &, const Action &) {
  const Num tcp_to_target = norm(s.tcp() - s.target());
  const Num in_place = tolerance(py_float(tcp_to_target), 0, 0.05, py_float(norm(s.hand_init() - s.target())), LONG_TAIL);
  return {10 * in_place, tcp_to_target <= 0.05};
}

inline Outcome v1(Simulator &s, const Observation &, const Action &) {
  const Num maxReachDist = s.extra(0), reachDist = norm(s.tcp() - s.target());
  return {py_max(lift_v1::place(maxReachDist, reachDist), 0), reachDist <= 0.05};
}

constexpr Task TASK = {"reach-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::reach
