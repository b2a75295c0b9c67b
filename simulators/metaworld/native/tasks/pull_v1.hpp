// The v1 reward that buttons, doors, locks, drawers and the pushed mug share: reach the thing, then shorten its way to the goal.
#pragma once
#include "../reward.hpp"

namespace metaworld {

inline Num pull_v1(Num reachDist, Num pullDist, Num maxDist) {
  Num pullRew = 0;
  if (reachDist < 0.05) {
    const Num near = np_exp(-squared(pullDist) / 0.01) + np_exp(-squared(pullDist) / 0.001);
    pullRew = py_max(1000 * (maxDist - pullDist) + 1000 * near, 0);
  }
  return -reachDist + pullRew;
}

}  // namespace metaworld
