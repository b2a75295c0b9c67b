// Building blocks of stock's rewards: tolerance, hamacher_product, rect_prism_tolerance, _gripper_caging_reward.
#pragma once
#include "simulator.hpp"

namespace metaworld {

enum Sigmoid { LONG_TAIL, GAUSSIAN };

// reward_utils.tolerance with value_at_margin 0.1. Always a Python float: stock calls .item().
inline Num tolerance(Num x, Num lower, Num upper, Num margin, Sigmoid sigmoid) {
  if (margin < 0) throw Broken("tolerance: margin is negative");
  const bool inside = lower <= x && x <= upper;
  if (inside) return 1.0;
  if (margin == 0) return 0.0;
  Num d = x < lower ? lower - x : x - upper;
  if (d.kind == PYTHON) d.kind = FLOAT64;
  d = d / margin;
  if (sigmoid == LONG_TAIL) return py_float(1.0 / (squared(d * f64(math.long_tail_scale)) + 1.0));
  return py_float(np_exp(-0.5 * squared(d * f64(math.gaussian_scale))));
}

inline Num hamacher_product(Num a, Num b) {
  if (!(0.0 <= a && a <= 1.0 && 0.0 <= b && b <= 1.0)) throw Broken("hamacher_product: a factor is not in [0, 1]");
  const Num denominator = a + b - a * b;
  const Num product = denominator > 0 ? a * b / denominator : Num(0);
  if (!(0.0 <= product && product <= 1.0)) throw Broken("hamacher_product: the product is not in [0, 1]");
  return product;
}

inline Num rect_prism_tolerance(Vec now, Vec zero, Vec one) {
  for (int i = 0; i < 3; i++) {
    const bool in = one[i] >= zero[i] ? zero[i] <= now[i] && now[i] <= one[i] : one[i] <= now[i] && now[i] <= zero[i];
    if (!in) return 1.0;
  }
  const Vec diff = one - zero;
  return (now[0] - zero[0]) / diff[0] * ((now[1] - zero[1]) / diff[1]) * ((now[2] - zero[2]) / diff[2]);
}

enum Density { SPARSE, MEDIUM, HIGH };

struct Caging {  // arguments of _gripper_caging_reward
  double obj_radius, pad_success_thresh, object_reach_radius, xz_thresh;
  Density density = SPARSE;
  double desired_gripper_effort = 1.0;
};

inline Num gripper_caging_reward(const Simulator &s, const Action &action, Vec obj, Vec init, const Caging &c) {
  const Vec left = s.left_pad(), right = s.right_pad(), tcp = s.tcp(), init_tcp = s.init_tcp();
  const Num pad_y[2] = {left[1], right[1]};
  Num caging_lr[2];
  for (int i = 0; i < 2; i++) {
    const Num margin = np_abs(np_abs(pad_y[i] - init[1]) - c.pad_success_thresh);
    caging_lr[i] = tolerance(np_abs(pad_y[i] - obj[1]), c.obj_radius, c.pad_success_thresh, margin, LONG_TAIL);
  }
  const Num caging_y = hamacher_product(caging_lr[0], caging_lr[1]);
  const Num xz_margin = norm_xz(init - init_tcp) - c.xz_thresh;
  const Num caging_xz = tolerance(norm_xz(tcp - obj), 0, c.xz_thresh, xz_margin, LONG_TAIL);
  const Num closed = py_min(py_max(0, action[3]), c.desired_gripper_effort) / c.desired_gripper_effort;
  const Num caging = hamacher_product(caging_y, caging_xz);
  const Num gripping = caging > 0.97 ? closed : Num(0.0);
  const Num both = hamacher_product(caging, gripping);
  if (c.density == HIGH) return (both + caging) / 2;
  if (c.density == SPARSE) return both;
  const Num reach_margin = py_abs(norm(init - init_tcp) - c.object_reach_radius);
  const Num reach = tolerance(norm(obj - tcp), 0, c.object_reach_radius, reach_margin, LONG_TAIL);
  return (both + reach) / 2;
}

inline Num gripper_caging_reward(const Simulator &s, const Action &action, Vec obj, const Caging &c) {
  return gripper_caging_reward(s, action, obj, s.obj_init(), c);
}

}  // namespace metaworld
