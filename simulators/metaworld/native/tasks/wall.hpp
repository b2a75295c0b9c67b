// reach-wall-v3, push-wall-v3 and pick-place-wall-v3: the way to the goal leads around or over a wall.
#pragma once
#include "pick_place.hpp"
#include "reach.hpp"
#include "sweep.hpp"

namespace metaworld::wall {

struct Way {  // of the object: by a midpoint beside or above the wall to the target
  Num obj_to_target, in_place_part1, in_place_part2;

  Way(const Simulator &s, Vec obj, Vec midpoint, Vec in_place_scaling) {
    const Vec target = s.target(), obj_init = s.obj_init();
    const Num obj_to_midpoint = py_float(norm((obj - midpoint) * in_place_scaling));
    const Num obj_to_midpoint_init = py_float(norm((obj_init - midpoint) * in_place_scaling));
    obj_to_target = py_float(norm(obj - target));
    const Num obj_to_target_init = py_float(norm(obj_init - target));
    in_place_part1 = tolerance(obj_to_midpoint, 0, 0.05, obj_to_midpoint_init, LONG_TAIL);
    in_place_part2 = tolerance(obj_to_target, 0, 0.05, obj_to_target_init, LONG_TAIL);
  }
};

}  // namespace metaworld::wall

namespace metaworld::reach_wall {

constexpr Task TASK = {"reach-wall-v3", reach::IDS, reach::ATTRIBUTES, reach::objects, reach::v1, reach::v2};

}  // namespace metaworld::reach_wall

namespace metaworld::push_wall {

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4);
  const Num tcp_opened = obs[3], tcp_to_obj = py_float(norm(obj - s.tcp()));
  const wall::Way way(s, obj, vec(-0.05, 0.77, obj[2]), vec(3.0, 1.0, 1.0));
  const Num object_grasped = gripper_caging_reward(
      s, action, obj,
      {.obj_radius = 0.015, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.005, .density = HIGH});
  Num reward = 2 * object_grasped;
  if (tcp_to_obj < 0.02 && tcp_opened > 0) {
    reward = 2.0 * object_grasped + 1.0 + 4.0 * way.in_place_part1;
    if (obj[1] > 0.75) reward = 2 * object_grasped + 1.0 + 4.0 + 3.0 * way.in_place_part2;
  }
  if (way.obj_to_target < 0.05) reward = 10.0;
  return {reward, way.obj_to_target <= 0.07};
}

constexpr Task TASK = {"push-wall-v3", push_back::IDS, push_back::ATTRIBUTES, push_back::objects, push_back::v1, v2};

}  // namespace metaworld::push_wall

namespace metaworld::pick_place_wall {

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4);
  const Num tcp_opened = obs[3], tcp_to_obj = py_float(norm(obj - s.tcp()));
  const wall::Way way(s, obj, vec(s.target()[0], 0.77, 0.25), vec(1.0, 1.0, 3.0));
  const Num object_grasped = gripper_caging_reward(
      s, action, obj, {.obj_radius = 0.015, .pad_success_thresh = 0.05, .object_reach_radius = 0.01, .xz_thresh = 0.005});
  const Num in_place_and_object_grasped = hamacher_product(object_grasped, way.in_place_part1);
  Num reward = in_place_and_object_grasped;
  if (tcp_to_obj < 0.02 && tcp_opened > 0 && obj[2] - 0.015 > s.obj_init()[2]) {
    reward = in_place_and_object_grasped + 1.0 + 4.0 * way.in_place_part1;
    if (obj[1] > 0.75) reward = in_place_and_object_grasped + 1.0 + 4.0 + 3.0 * way.in_place_part2;
  }
  if (way.obj_to_target < 0.05) reward = 10.0;
  return {reward, way.obj_to_target <= 0.07};
}

constexpr Task TASK = {"pick-place-wall-v3", push_back::IDS, carry::ATTRIBUTES, push_back::objects, carry::v1, v2};

}  // namespace metaworld::pick_place_wall
