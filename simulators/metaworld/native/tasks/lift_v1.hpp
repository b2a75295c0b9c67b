// What the v1 rewards of tasks that grasp, lift and carry something have in common.
#pragma once
#include "../reward.hpp"

namespace metaworld::lift_v1 {

// c1 * (np.exp(-(dist ** 2) / c2) + np.exp(-(dist ** 2) / c3))
inline Num near(Num dist, Num c1 = 1000, Num c2 = 0.01, Num c3 = 0.001) {
  return c1 * (np_exp(-squared(dist) / c2) + np_exp(-squared(dist) / c3));
}
inline Num place(Num maxDist, Num dist) { return 1000 * (maxDist - dist) + near(dist); }  // placeRew before its max(..., 0)

// reachRew: from afar over the object first; near it an incentive to close the fingers.
inline Num reach(Num reachDist, Num reachDistxy, Num weighted_z, double radius, const Action &action) {
  if (reachDist < radius) return -reachDist + py_max(action[3], 0) / 50;
  return reachDistxy < radius ? -reachDist : -reachDistxy - weighted_z;
}

struct Lift {
  Num z, height, heightTarget;  // of the object: now, at reset, to be reached
  bool pickCompleted, objDropped;

  Lift(Num z, Num height, Num heightTarget, Num dist, Num reachDist) : z(z), height(height), heightTarget(heightTarget) {
    pickCompleted = z >= heightTarget - 0.01;
    objDropped = z < height + 0.005 && dist > 0.02 && reachDist > 0.02;
  }
  bool held() const { return pickCompleted && !objDropped; }
  bool lifted() const { return z > height + 0.005; }
  Num pickRew(bool done, bool close) const {
    return done ? 100 * heightTarget : close && lifted() ? 100 * py_min(heightTarget, z) : Num(0);
  }
};

inline Num sum(Num reachRew, Num pickRew, Num placeRew) {
  if (!(placeRew >= 0 && pickRew >= 0)) throw Broken("v1: placeRew or pickRew is negative");
  return reachRew + pickRew + placeRew;
}

}  // namespace metaworld::lift_v1
