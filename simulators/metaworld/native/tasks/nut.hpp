// assembly-v3 and disassemble-v3: a wrench's ring goes onto the peg, or off it.
#pragma once
#include "lift_v1.hpp"

namespace metaworld::nut {

enum { GRIP, RING, NUT, PEG };  // ids
constexpr const char *IDS = "site:RoundNut-8 site:RoundNut body:RoundNut body:peg";

inline void objects(Simulator &s, double *out) { put(out, 0, s.site(GRIP), s.body_quat(NUT)); }

inline Num reward_quat(const Observation &obs) {
  const Num error = py_float(norm({obs[7] - 0.707, obs[8] - 0.0, obs[9] - 0.0, obs[10] - 0.707}));
  return py_max(1.0 - error / 0.4, 0.0);
}

inline Num reward_grab(const Simulator &s, const Observation &obs, const Action &action, Density density) {
  const Vec hand = obs.vec(0), wrench = obs.vec(4);
  Vec wrench_threshed = wrench;
  if (py_abs(wrench[0] - hand[0]) < 0.02 / 2.0) wrench_threshed.x[0] = hand.x[0];
  return gripper_caging_reward(
      s, action, wrench_threshed,
      {.obj_radius = 0.015, .pad_success_thresh = 0.02, .object_reach_radius = 0.01, .xz_thresh = 0.01, .density = density});
}

}  // namespace metaworld::nut

namespace metaworld::assembly {

using namespace nut;

constexpr const char *ATTRIBUTES = "obj_height heightTarget maxPlacingDist";  // stock sets them under v1 only

inline Num reward_pos(Vec wrench_center, Vec target_pos, bool &success) {
  Vec pos_error = target_pos - wrench_center;
  const Num radius = norm_xy(pos_error);
  success = radius < 0.02 && pos_error[2] > 0.0;
  const Num threshold = success ? 0.02 : 0.01;
  Num target_height = 0.0;
  if (radius > threshold) target_height = 0.02 * np_log(radius - threshold) + 0.2;
  pos_error.x[2] = (target_height - wrench_center[2]).value;
  const bool lifted = wrench_center[2] > 0.02 || radius < threshold;
  const Num error = py_float(norm(pos_error * vec(1.0, 1.0, 3.0)));
  return 0.1 * Num(lifted) + 0.9 * tolerance(error, 0, 0.02, 0.4, LONG_TAIL);
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Num quat = reward_quat(obs), grab = reward_grab(s, obs, action, MEDIUM);
  bool success;
  const Num in_place = reward_pos(s.site(RING), s.target(), success);
  Num reward = (2.0 * grab + 6.0 * in_place) * quat;
  if (success) reward = 10.0;
  return {reward, success};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num obj_height = s.extra(0), heightTarget = s.extra(1), maxPlacingDist = s.extra(2);
  const Vec graspPos = obs.vec(4), objPos = s.body(NUT), fingerCOM = s.tcp(), placingGoal = s.target();
  const Num reachDist = norm(graspPos - fingerCOM);
  const Num placingDist = norm_xy(objPos - placingGoal);
  const Num placingDistFinal = np_abs(objPos[2] - obj_height);
  const Num zRew = norm({fingerCOM[2] - s.init_tcp()[2]});
  const Num reachRew = lift_v1::reach(reachDist, norm_xy(graspPos - fingerCOM), zRew, 0.04, action);
  lift_v1::Lift lift(objPos[2], obj_height, heightTarget, placingDist, reachDist);
  lift.pickCompleted = lift.pickCompleted && reachDist < 0.03;
  const bool placeCompleted = py_abs(objPos[0] - placingGoal[0]) < 0.03 && py_abs(objPos[1] - placingGoal[1]) < 0.03;
  const Num pickRew = lift.pickRew(placeCompleted || lift.held(), reachDist < 0.04);
  Num placeRew = lift_v1::place(maxPlacingDist, placingDist);
  if (placeCompleted) placeRew += 2000 * (heightTarget - placingDistFinal) + lift_v1::near(placingDistFinal, 2000, 0.003, 0.0003);
  placeRew = placeCompleted || (lift.held() && reachDist < 0.04) ? py_max(placeRew, 0) : Num(0);
  return {lift_v1::sum(reachRew, pickRew, placeRew), placeCompleted && placingDistFinal <= 0.04};
}

constexpr Task TASK = {"assembly-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::assembly

namespace metaworld::disassemble {

using namespace nut;

constexpr const char *ATTRIBUTES = "objHeight heightTarget maxPlacingDist";

inline Num reward_pos(Vec wrench_center, Vec target_pos) {
  const Vec pos_error = target_pos + vec(0.0, 0.0, 0.1) - wrench_center;
  const bool lifted = wrench_center[2] > 0.02;
  return 0.1 * Num(lifted) + 0.9 * tolerance(py_float(norm(pos_error)), 0, 0.02, 0.2, LONG_TAIL);
}

inline Outcome v2(Simulator &s, const Observation &obs, const Action &action) {
  const Num quat = reward_quat(obs), grab = reward_grab(s, obs, action, HIGH);
  const Num in_place = reward_pos(s.site(RING), s.target());
  Num reward = (2.0 * grab + 6.0 * in_place) * quat;
  const bool success = obs[6] > s.target()[2];
  if (success) reward = 10.0;
  return {reward, success};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &action) {
  const Num objHeight = s.extra(0), heightTarget = s.extra(1), maxPlacingDist = s.extra(2);
  const Vec objPos = obs.vec(4), fingerCOM = s.tcp();
  const Num reachDist = norm(objPos - fingerCOM);
  const Num zDist = np_abs(fingerCOM[2] - s.init_tcp()[2]);
  const Num placingDist = norm(objPos - s.target());
  Num reachRew = lift_v1::reach(reachDist, norm_xy(objPos - fingerCOM), 2 * zDist, 0.04, action);
  lift_v1::Lift lift(objPos[2], objHeight, heightTarget, placingDist, reachDist);
  lift.pickCompleted = lift.pickCompleted && reachDist < 0.04;
  Num pickRew = lift.pickRew(lift.held(), reachDist < 0.04);
  Num placeRew = py_max(lift_v1::place(maxPlacingDist, placingDist), 0);
  if (!(lift.held() && reachDist < 0.03)) placeRew = 0;
  const Vec peg_pos = vec(s.model->body_pos + 3 * s.id[PEG]), nut_pos = s.body(NUT);
  if (py_abs(nut_pos[0] - peg_pos[0]) > 0.05 || py_abs(nut_pos[1] - peg_pos[1]) > 0.05) {
    reachRew = 0;
    pickRew = heightTarget * 100;
  }
  return {lift_v1::sum(reachRew, pickRew, placeRew), obs[6] > s.target()[2]};
}

constexpr Task TASK = {"disassemble-v3", IDS, ATTRIBUTES, objects, v1, v2};

}  // namespace metaworld::disassemble
