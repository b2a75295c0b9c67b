// plate-slide-v3, plate-slide-side-v3, plate-slide-back-v3 and plate-slide-back-side-v3: the puck is slid into or out of the cabinet.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::plate_slide {

enum { PUCK };  // ids
constexpr const char *IDS = "geom:puck";
constexpr const char *ATTRIBUTES = "maxDist";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.geom(PUCK), s.geom_matrix(PUCK)); }

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec objPos = obs.vec(4);
  const Num pullDist = norm_xy(objPos - s.target());
  return {pull_v1(norm(objPos - s.tcp()), pullDist, s.extra(0)), pullDist <= 0.07};
}

struct Distances {
  Num obj_to_target, in_place_margin, tcp_to_obj, obj_grasped_margin;
};

inline Distances distances(const Simulator &s, Vec obj) {
  return {py_float(norm(obj - s.target())), py_float(norm(s.obj_init() - s.target())), py_float(norm(s.tcp() - obj)),
          py_float(norm(s.init_tcp() - s.obj_init()))};
}

constexpr double TARGET_RADIUS = 0.05;  // of the reward; success is within 0.07

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  const Distances d = distances(s, obs.vec(4));
  const Num in_place = tolerance(d.obj_to_target, 0, TARGET_RADIUS, d.in_place_margin, LONG_TAIL);
  const Num object_grasped = tolerance(d.tcp_to_obj, 0, TARGET_RADIUS, d.obj_grasped_margin, LONG_TAIL);
  Num reward = 8 * hamacher_product(object_grasped, in_place);
  if (d.obj_to_target < TARGET_RADIUS) reward = 10.0;
  return {reward, d.obj_to_target <= 0.07};
}

// The other three tasks.
inline Outcome pressed_v2(Simulator &s, const Observation &obs, const Action &) {
  const Distances d = distances(s, obs.vec(4));
  const Num in_place = tolerance(d.obj_to_target, 0, TARGET_RADIUS, d.in_place_margin - TARGET_RADIUS, LONG_TAIL);
  const Num object_grasped = tolerance(d.tcp_to_obj, 0, TARGET_RADIUS, d.obj_grasped_margin - TARGET_RADIUS, LONG_TAIL);
  Num reward = 1.5 * object_grasped;
  if (s.tcp()[2] <= 0.03 && d.tcp_to_obj < 0.07) reward = 2.0 + (7.0 * in_place);
  if (d.obj_to_target < TARGET_RADIUS) reward = 10.0;
  return {reward, d.obj_to_target <= 0.07};
}

constexpr Task TASK = {"plate-slide-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::plate_slide

namespace metaworld::plate_slide_side {
constexpr Task TASK = {"plate-slide-side-v3", plate_slide::IDS, plate_slide::ATTRIBUTES,
                       plate_slide::objects, plate_slide::v1, plate_slide::pressed_v2};
}  // namespace metaworld::plate_slide_side

namespace metaworld::plate_slide_back {
constexpr Task TASK = {"plate-slide-back-v3", plate_slide::IDS, plate_slide::ATTRIBUTES,
                       plate_slide::objects, plate_slide::v1, plate_slide::pressed_v2};
}  // namespace metaworld::plate_slide_back

namespace metaworld::plate_slide_back_side {
constexpr Task TASK = {"plate-slide-back-side-v3", plate_slide::IDS, plate_slide::ATTRIBUTES,
                       plate_slide::objects, plate_slide::v1, plate_slide::pressed_v2};
}  // namespace metaworld::plate_slide_back_side
