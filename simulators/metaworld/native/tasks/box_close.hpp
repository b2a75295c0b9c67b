// box-close-v3: the lid goes onto the box.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::box_close {

enum { LID };  // ids
constexpr const char *IDS = "body:top_link";
constexpr const char *ATTRIBUTES = "objHeight heightTarget maxPlacingDist";

inline void objects(Simulator &s, double *out) { put(out, 0, s.body(LID), s.body_quat(LID)); }

inline Num np_clip(Num x, Num low, Num high) {
  const Num y = x < low ? low : x > high ? high : x;
  return Num(y.value, x.kind);
}

inline Num reward_grab_effort(const Action &action) {
  return py_float(np_clip((np_clip(action[3], -1, 1) + 1.0) / 2.0, 0.0, 1.0));
}

inline Num reward_quat(const Observation &obs) {
  const Num error = py_float(norm({obs[7] - 0.707, obs[8] - 0.0, obs[9] - 0.0, obs[10] - 0.707}));
  return py_max(1.0 - error / 0.2, 0.0);
}

struct Steps {
  Num ready_to_lift, lifted;
};

inline Steps reward_pos(const Observation &obs, Vec target_pos) {
  const Vec hand = obs.vec(0), lid = obs.vec(4) + vec(0.0, 0.0, 0.02);
  const Num threshold = 0.02, radius = norm_xy(hand - lid);
  Num floor = 0.0;
  if (!(radius <= threshold)) floor = 0.04 * np_log(radius - threshold) + 0.4;
  const Num above_floor = hand[2] >= floor ? Num(1.0) : tolerance(floor - hand[2], 0.0, 0.01, floor / 2.0, LONG_TAIL);
  const Num in_place = tolerance(py_float(norm(hand - lid)), 0, 0.02, 0.5, LONG_TAIL);
  const Num ready_to_lift = hamacher_product(above_floor, in_place);
  const Num error = py_float(norm((target_pos - lid) * vec(1.0, 1.0, 3.0)));
  return {ready_to_lift, 0.2 * Num(lid[2] > 0.04) + 0.8 * tolerance(error, 0, 0.05, 0.25, LONG_TAIL)};
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Num reward_grab = reward_grab_effort(action);
  const Steps steps = reward_pos(obs, s.target());
  Num reward = 2.0 * hamacher_product(reward_grab, steps.ready_to_lift) + 8.0 * steps.lifted;
  const bool success = norm(obs.vec(4) - s.target()) < 0.08;
  if (success) reward = 10.0;
  reward *= reward_quat(obs);
  return {reward, success};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num objHeight = s.extra(0), heightTarget = s.extra(1), maxPlacingDist = s.extra(2);
  const Vec objPos = obs.vec(4), fingerCOM = s.tcp();
  const Num placingDist = norm(objPos - s.target()), reachDist = norm(objPos - fingerCOM);
  const Num zRew = norm({fingerCOM[2] - s.init_tcp()[2]});
  const Num reachRew = lift_v1::reach(reachDist, norm_xy(objPos - fingerCOM), 2 * zRew, 0.05, action);
  const lift_v1::Lift lift(objPos[2], objHeight, heightTarget, placingDist, reachDist);
  const Num pickRew = lift.pickRew(lift.held(), reachDist < 0.1);
  Num placeRew = 0;
  if (lift.held() && reachDist < 0.1) placeRew = py_max(lift_v1::place(maxPlacingDist, placingDist), 0);
  return {lift_v1::sum(reachRew, pickRew, placeRew), placingDist < 0.08};
}

constexpr Task TASK = {"box-close-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::box_close
