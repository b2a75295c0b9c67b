// hammer-v3: the hammer drives the nail in.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::hammer {

enum { HAMMER, NAIL, HEAD, NAIL_HEAD, SLIDE };  // ids
constexpr const char *IDS = "body:hammer body:nail_link geom:HammerHead site:nailHead joint:NailSlideJoint";
constexpr const char *ATTRIBUTES = "hammerHeight heightTarget maxHammerDist";

inline void objects(Simulator &s, double *out) {
  put(out, 0, s.body(HAMMER), s.body_quat(HAMMER));
  put(out, 1, s.body(NAIL), s.body_quat(NAIL));
}

inline Num reward_quat(const Observation &obs) {
  const Num error = py_float(norm({obs[7] - 1.0, obs[8] - 0.0, obs[9] - 0.0, obs[10] - 0.0}));
  return py_max(1.0 - error / 0.4, 0.0);
}

inline Num reward_pos(Vec hammer_head, Vec target_pos) {
  const bool lifted = hammer_head[2] > 0.02;
  return 0.1 * Num(lifted) + 0.9 * tolerance(norm(target_pos - hammer_head), 0, 0.02, 0.2, LONG_TAIL);
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Vec hand = obs.vec(0), hammer = obs.vec(4);
  const Vec hammer_head = hammer + vec(0.16, 0.06, 0.0);
  Vec hammer_threshed = hammer;
  if (py_abs(hammer[0] - hand[0]) < 0.14 / 2.0) hammer_threshed.x[0] = hand.x[0];
  const Num reward_grab = gripper_caging_reward(
      s, action, hammer_threshed,
      {.obj_radius = 0.015, .pad_success_thresh = 0.02, .object_reach_radius = 0.01, .xz_thresh = 0.01, .density = HIGH});
  const Num reward_in_place = reward_pos(hammer_head, s.target());
  Num reward = (2.0 * reward_grab + 6.0 * reward_in_place) * reward_quat(obs);
  const bool success = s.qpos(SLIDE) > 0.09;
  if (success && reward > 5.0) reward = 10.0;
  return {reward, success};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num hammerHeight = s.extra(0), heightTarget = s.extra(1), maxHammerDist = s.extra(2);
  const Vec hammerPos = obs.vec(4), hammerHeadPos = s.geom(HEAD), objPos = s.site(NAIL_HEAD);
  const Num hammerDist = norm(objPos - hammerHeadPos);
  const Num screwDist = np_abs(objPos[1] - s.target()[1]);
  const Num reachDist = norm(hammerPos - s.tcp());
  Num reachRew = -reachDist;
  if (reachDist < 0.05) reachRew = -reachDist + py_max(action[3], 0) / 50;
  const lift_v1::Lift lift(hammerPos[2], hammerHeight, heightTarget, hammerDist, reachDist);
  const Num pickRew = lift.pickRew(lift.held(), reachDist < 0.1);
  Num hammerRew = 0;
  if (lift.held() && reachDist < 0.1) {
    hammerRew = 1000 * (maxHammerDist - hammerDist - screwDist) + lift_v1::near(hammerDist + screwDist);
    hammerRew = py_max(hammerRew, 0);
  }
  return {lift_v1::sum(reachRew, pickRew, hammerRew), s.qpos(SLIDE) > 0.09};
}

constexpr Task TASK = {"hammer-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::hammer
