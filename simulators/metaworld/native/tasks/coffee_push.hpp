// coffee-push-v3: the mug is pushed under the coffee machine.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::coffee_push {

enum { OBJ, MUG, COFFEE_GOAL };  // ids
constexpr const char *IDS = "body:obj geom:mug site:coffee_goal";
constexpr const char *ATTRIBUTES = "maxPushDist";

inline void objects(Simulator &s, double *out) { put_rotation(out, 0, s.body(OBJ), s.geom_matrix(MUG)); }

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec obj = obs.vec(4), target = s.target();
  const Vec scale = vec(2.0, 2.0, 1.0);
  const Num target_to_obj = norm((obj - target) * scale);
  const Num target_to_obj_init = norm((s.obj_init() - target) * scale);
  const Num in_place = tolerance(target_to_obj, 0, 0.05, target_to_obj_init, LONG_TAIL);
  const Num tcp_opened = obs[3];
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num object_grasped = gripper_caging_reward(s, action, obj,
                                                   {.obj_radius = 0.02,
                                                    .pad_success_thresh = 0.05,
                                                    .object_reach_radius = 0.04,
                                                    .xz_thresh = 0.05,
                                                    .density = MEDIUM,
                                                    .desired_gripper_effort = 0.7});
  Num reward = hamacher_product(object_grasped, in_place);
  if (tcp_to_obj < 0.04 && tcp_opened > 0) reward += 1.0 + 5.0 * in_place;
  if (target_to_obj < 0.05) reward = 10.0;
  return {reward, norm(obj - target) <= 0.07};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec objPos = obs.vec(4), goal = s.target();
  for (int i = 0; i < 3; i++) {  // stock asserts it, though the site comes by way of the machine's position
    if (goal[i] != s.site(COFFEE_GOAL)[i]) throw Broken("coffee-push-v3 v1: the goal is not exactly the site coffee_goal");
  }
  return {pull_v1(norm(s.tcp() - objPos), norm_xy(objPos - goal), s.extra(0)), norm(objPos - goal) <= 0.07};
}

constexpr Task TASK = {"coffee-push-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::coffee_push
