// coffee-push-v3 and coffee-pull-v3: the mug is pushed under the coffee machine, or pulled away from it.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::coffee {

enum { OBJ, MUG, GOAL };  // ids

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

}  // namespace metaworld::coffee

namespace metaworld::coffee_push {

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec objPos = obs.vec(4), goal = s.target();
  for (int i = 0; i < 3; i++) {  // stock asserts it, though the site comes by way of the machine's position
    if (goal[i] != s.site(coffee::GOAL)[i]) throw Broken("coffee-push-v3 v1: the goal is not exactly the site coffee_goal");
  }
  return {pull_v1(norm(s.tcp() - objPos), norm_xy(objPos - goal), s.extra(0)), norm(objPos - goal) <= 0.07};
}

constexpr Task TASK = {"coffee-push-v3", "body:obj geom:mug site:coffee_goal", "maxPushDist", coffee::objects, v1, coffee::v2};

}  // namespace metaworld::coffee_push

namespace metaworld::coffee_pull {

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num maxPullDist = s.extra(0);
  const Vec objPos = obs.vec(4), goal = s.target(), mug_goal = s.site(coffee::GOAL);
  for (int i = 0; i < 3; i++)
    if (goal[i] != mug_goal[i]) throw Broken("coffee-pull v1: the site mug_goal is not at the goal");
  const Num reachDist = norm(s.tcp() - objPos), pullDist = norm_xy(objPos - goal);
  const Num reachDistxy = norm({objPos[0], objPos[1], s.init_tcp()[2]});  // stock measures from the origin, not from the fingers
  Num reachRew = -reachDistxy;
  if (reachDistxy < 0.05) {
    reachRew = -reachDist + 0.1;
    if (reachDist < 0.05) reachRew += py_max(action[3], 0) / 50;
  }
  Num pullRew = 0;
  if (reachDist < 0.05) pullRew = py_max(lift_v1::place(maxPullDist, pullDist), 0);
  return {reachRew + pullRew, norm(objPos - goal) <= 0.07};
}

constexpr Task TASK = {"coffee-pull-v3", "body:obj geom:mug site:mug_goal", "maxPullDist", coffee::objects, v1, coffee::v2};

}  // namespace metaworld::coffee_pull
