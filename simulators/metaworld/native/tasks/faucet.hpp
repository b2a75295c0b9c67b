// faucet-open-v3 and faucet-close-v3: the handle of the faucet is turned.
#pragma once
#include "pull_v1.hpp"

namespace metaworld::faucet {

enum { HANDLE, BASE };  // ids
constexpr const char *ATTRIBUTES = "maxPullDist";

inline void objects(Simulator &s, double *out) { put(out, 0, s.site(HANDLE) + vec(0.0, 0.0, -0.01), s.body_quat(BASE)); }

inline Outcome turn(Simulator &s, Vec obj) {
  const double target_radius = 0.07, faucet_reach_radius = 0.01;
  const Num target_to_obj = norm(obj - s.target());
  const Num target_to_obj_init = norm(s.obj_init() - s.target());
  const Num in_place = tolerance(target_to_obj, 0, target_radius, py_abs(target_to_obj_init - target_radius), LONG_TAIL);
  const Num tcp_to_obj = py_float(norm(obj - s.tcp()));
  const Num tcp_to_obj_init = norm(s.obj_init() - s.init_tcp());
  const Num reach = tolerance(tcp_to_obj, 0, faucet_reach_radius, py_abs(tcp_to_obj_init - faucet_reach_radius), GAUSSIAN);
  Num reward = 2 * reach + 3 * in_place;
  reward *= 2;
  if (target_to_obj <= target_radius) reward = 10;
  return {reward, target_to_obj <= 0.07};
}

inline Outcome v1(Simulator &s, const Observation &obs, const Action &) {
  const Vec objPos = obs.vec(4);
  const Num pullDist = norm(objPos - s.target());
  return {pull_v1(norm(objPos - s.tcp()), pullDist, s.extra(0)), pullDist <= 0.07};
}

}  // namespace metaworld::faucet

namespace metaworld::faucet_open {

constexpr const char *IDS = "site:handleStartOpen body:faucetBase";

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) {
  return faucet::turn(s, obs.vec(4) + vec(-0.04, 0.0, 0.03));
}

constexpr Task TASK = {"faucet-open-v3", IDS, faucet::ATTRIBUTES, faucet::objects, faucet::v1, v2};

}  // namespace metaworld::faucet_open

namespace metaworld::faucet_close {

constexpr const char *IDS = "site:handleStartClose body:faucetBase";

inline Outcome v2(Simulator &s, const Observation &obs, const Action &) { return faucet::turn(s, obs.vec(4)); }

constexpr Task TASK = {"faucet-close-v3", IDS, faucet::ATTRIBUTES, faucet::objects, faucet::v1, v2};

}  // namespace metaworld::faucet_close
