// One simulator of one task: MuJoCo's model and data, the ids a task looks at, and the constants of its episode.
#pragma once
#include <mujoco/mujoco.h>

#include <stdexcept>

#include "num.hpp"

namespace metaworld {

constexpr int FRAME = 18, OBS = 39, ACTION = 4, MAX_IDS = 16, MAX_EXTRAS = 40;

// What stock answers with a ValueError or an AssertionError.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Observation {  // clipped, as stock's evaluate_state sees it
  double x[OBS];
  Num operator[](int i) const { return f64(x[i]); }
  Vec vec(int at) const { return metaworld::vec(x + at); }  // x[at : at + 3]
};

struct Action {
  float x[ACTION];
  Num operator[](int i) const { return f32(x[i]); }
};

struct Outcome {
  Num reward;
  bool success;
};

struct Simulator;

struct Task {
  const char *name;
  const char *ids;         // "body:obj geom:objGeom ...": what body(0), geom(1) ... mean; kinds are body, site, geom, joint
  const char *attributes;  // of the stock environment after a reset, flattened into extra(0), extra(1) ...
  void (*objects)(Simulator &, double *);  // fills the 14 numbers after hand and gripper; they are zero before
  Outcome (*v1)(Simulator &, const Observation &, const Action &);
  Outcome (*v2)(Simulator &, const Observation &, const Action &);
};

struct SharedModel {  // one per task and process; each simulator puts its own body and site positions in before it steps
  mjModel *model;
  Simulator *owner;
};

struct Constants {  // of an episode, read from the stock environment after its reset
  double target[3], obj_init[3], init_tcp[3], hand_init[3], extra[MAX_EXTRAS];
};

struct Simulator {
  const Task *task;
  SharedModel *shared;
  mjModel *model;
  mjData *data;
  int reward_version, success_version, hide_goal, sparse, horizon, t;
  double action_scale, mocap_low[3], mocap_high[3], low[OBS], high[OBS];
  int hand, rightclaw, leftclaw, leftpad, rightpad;        // bodies
  int right_tip, left_tip, leftpad_geom, rightpad_geom;    // sites, geoms
  int id[MAX_IDS];
  const double *body_pos, *site_pos;  // of this episode: reset moves bodies and sites of the model
  Constants constants;
  double previous[FRAME];  // the last frame, not clipped
  Observation last;

  Vec xpos(int body) const { return metaworld::vec(data->xpos + 3 * body); }
  Vec body(int i) const { return xpos(id[i]); }                                  // data.body(name).xpos
  Vec site(int i) const { return metaworld::vec(data->site_xpos + 3 * id[i]); }  // data.site(name).xpos
  Vec geom(int i) const { return metaworld::vec(data->geom_xpos + 3 * id[i]); }  // data.geom(name).xpos
  Num qpos(int i) const { return f64(data->qpos[model->jnt_qposadr[id[i]]]); }   // data.joint(name).qpos, one number
  Num qvel(int i) const { return f64(data->qvel[model->jnt_dofadr[id[i]]]); }
  const double *body_quat(int i) const { return data->xquat + 4 * id[i]; }       // w, x, y, z
  const double *geom_matrix(int i) const { return data->geom_xmat + 9 * id[i]; }
  const double *site_matrix(int i) const { return data->site_xmat + 9 * id[i]; }
  const double *body_matrix(int i) const { return data->xmat + 9 * id[i]; }

  Vec left_pad() const { return xpos(leftpad); }
  Vec right_pad() const { return xpos(rightpad); }
  Vec right_finger() const { return metaworld::vec(data->site_xpos + 3 * right_tip); }  // site rightEndEffector
  Vec left_finger() const { return metaworld::vec(data->site_xpos + 3 * left_tip); }
  Vec tcp() const { return (right_finger() + left_finger()) / 2.0; }  // tcp_center; v1 rewards call it fingerCOM

  Vec target() const { return metaworld::vec(constants.target); }        // _target_pos
  Vec obj_init() const { return metaworld::vec(constants.obj_init); }    // obj_init_pos
  Vec init_tcp() const { return metaworld::vec(constants.init_tcp); }
  Vec hand_init() const { return metaworld::vec(constants.hand_init); }  // hand_init_pos
  Num extra(int i) const { return f64(constants.extra[i]); }             // the task's attributes, np.float64
  Vec extra_vec(int i) const { return metaworld::vec(constants.extra + i); }

  // Whether both fingers press on a geom: touching_object of stock, contacts in the same order.
  bool touching(int geom) const {
    return 0.0 < pad_force(leftpad_geom, geom) && 0.0 < pad_force(rightpad_geom, geom);
  }
  double pad_force(int pad, int geom) const {
    double force = 0.0;
    for (int i = 0; i < data->ncon; i++) {
      const int one = data->contact[i].geom1, other = data->contact[i].geom2;
      if ((pad != one && pad != other) || (geom != one && geom != other)) continue;
      const int at = data->contact[i].efc_address;
      force += data->efc_force[at < 0 ? data->nefc - 1 : at];  // Python's index -1 is the last
    }
    return force;
  }
};

// Rotation.from_matrix(matrix).as_quat() of scipy: x, y, z, w.
inline void quat_of_matrix(const double *m, double *quat) {
  const double trace = m[0] + m[4] + m[8];
  int choice = 0;
  double largest = m[0];
  if (m[4] > largest) choice = 1, largest = m[4];
  if (m[8] > largest) choice = 2, largest = m[8];
  if (trace > largest) choice = 3;
  if (choice == 3) {
    quat[0] = m[7] - m[5], quat[1] = m[2] - m[6], quat[2] = m[3] - m[1], quat[3] = 1 + trace;
  } else {
    const int i = choice, j = (i + 1) % 3, k = (j + 1) % 3;
    quat[i] = 1 - trace + 2 * m[3 * i + i];
    quat[j] = m[3 * j + i] + m[3 * i + j];
    quat[k] = m[3 * k + i] + m[3 * i + k];
    quat[3] = m[3 * k + j] - m[3 * j + k];
  }
  const double length = std::sqrt(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3]);
  for (int i = 0; i < 4; i++) quat[i] /= length;
}

// The numbers of the object-th object of a frame: position, then rotation.
inline void put(double *objects, int object, Vec position) {
  for (int i = 0; i < 3; i++) objects[7 * object + i] = position.x[i];
}
inline void put(double *objects, int object, Vec position, const double *quat) {
  put(objects, object, position);
  for (int i = 0; i < 4; i++) objects[7 * object + 3 + i] = quat[i];
}
inline void put_rotation(double *objects, int object, Vec position, const double *matrix) {
  put(objects, object, position);
  quat_of_matrix(matrix, objects + 7 * object + 3);
}

}  // namespace metaworld
