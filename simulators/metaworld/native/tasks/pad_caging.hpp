// The _gripper_caging_reward of pick-place-v3, push-back-v3, soccer-v3, sweep-v3 and sweep-into-v3, which override the common one.
#pragma once
#include "../reward.hpp"

namespace metaworld::pad_caging {

// Both pads in y. Stock means margins from the pads' initial positions, but its init_left_pad and init_right_pad are views of the
// simulation: they are where the pads are now.
inline Num y(const Simulator &s, Vec obj_pos, double obj_radius, double success_margin) {
  const double pad_success_margin = 0.05;
  const Vec left_pad = s.left_pad(), right_pad = s.right_pad();
  const Num right_margin = py_abs(py_abs(obj_pos[1] - right_pad[1]) - pad_success_margin);
  const Num left_margin = py_abs(py_abs(obj_pos[1] - left_pad[1]) - pad_success_margin);
  const Num right = tolerance(obj_pos[1] - right_pad[1], obj_radius, success_margin, right_margin, LONG_TAIL);
  const Num left = tolerance(left_pad[1] - obj_pos[1], obj_radius, success_margin, left_margin, LONG_TAIL);
  return hamacher_product(right, left);
}

inline Num x_z(const Simulator &s, Vec obj_pos, double x_z_success_margin) {
  const Vec now = s.tcp() - obj_pos, init = s.obj_init() - s.init_tcp();
  const Num tcp_obj_x_z_margin = norm({init[0], 0.0, init[2]}) - x_z_success_margin;
  return tolerance(norm({now[0], 0.0, now[2]}), 0, x_z_success_margin, tcp_obj_x_z_margin, LONG_TAIL);
}

// All but pick-place: what the fingers do does not count, only where the pads are.
inline Num reward(const Simulator &s, Vec obj_pos, double obj_radius, double grip_success_margin, double x_z_success_margin) {
  const Num y_caging = y(s, obj_pos, obj_radius, 0.05), y_gripping = y(s, obj_pos, obj_radius, grip_success_margin);
  const Num caging = hamacher_product(y_caging, x_z(s, obj_pos, x_z_success_margin));
  const Num gripping = caging > 0.95 ? y_gripping : Num(0.0);
  return (caging + gripping) / 2;
}

}  // namespace metaworld::pad_caging
