// The v1 reward of tasks that push, press, pull or turn something: reach it, then shorten its way to the goal.
#pragma once
#include "lift_v1.hpp"

namespace metaworld {

inline Num pull_v1(Num reachDist, Num pullDist, Num maxDist) {
  Num pullRew = 0;
  if (reachDist < 0.05) pullRew = py_max(lift_v1::place(maxDist, pullDist), 0);
  return -reachDist + pullRew;
}

}  // namespace metaworld
