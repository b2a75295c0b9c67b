// All tasks. Each header of a family ends with its TASKs.
#pragma once
#include "tasks/bin_picking.hpp"
#include "tasks/box_close.hpp"
#include "tasks/button_press.hpp"
#include "tasks/coffee.hpp"
#include "tasks/dial_turn.hpp"
#include "tasks/door.hpp"
#include "tasks/door_lock.hpp"
#include "tasks/drawer.hpp"
#include "tasks/faucet.hpp"
#include "tasks/hammer.hpp"
#include "tasks/hand_insert.hpp"
#include "tasks/handle.hpp"
#include "tasks/lever_pull.hpp"
#include "tasks/nut.hpp"
#include "tasks/peg.hpp"
#include "tasks/pick_out_of_hole.hpp"
#include "tasks/pick_place.hpp"
#include "tasks/plate_slide.hpp"
#include "tasks/push.hpp"
#include "tasks/reach.hpp"
#include "tasks/stick.hpp"
#include "tasks/sweep.hpp"
#include "tasks/wall.hpp"
#include "tasks/window.hpp"

namespace metaworld {

constexpr const Task *TASKS[] = {
    &assembly::TASK,
    &basketball::TASK,
    &bin_picking::TASK,
    &box_close::TASK,
    &button_press::TASK,
    &button_press_topdown::TASK,
    &button_press_topdown_wall::TASK,
    &button_press_wall::TASK,
    &coffee_button::TASK,
    &coffee_pull::TASK,
    &coffee_push::TASK,
    &dial_turn::TASK,
    &disassemble::TASK,
    &door_close::TASK,
    &door_lock::TASK,
    &door_open::TASK,
    &door_unlock::TASK,
    &drawer_close::TASK,
    &drawer_open::TASK,
    &faucet_close::TASK,
    &faucet_open::TASK,
    &hammer::TASK,
    &hand_insert::TASK,
    &handle_press::TASK,
    &handle_press_side::TASK,
    &handle_pull::TASK,
    &handle_pull_side::TASK,
    &lever_pull::TASK,
    &peg_insert_side::TASK,
    &peg_unplug_side::TASK,
    &pick_out_of_hole::TASK,
    &pick_place::TASK,
    &pick_place_wall::TASK,
    &plate_slide::TASK,
    &plate_slide_back::TASK,
    &plate_slide_back_side::TASK,
    &plate_slide_side::TASK,
    &push::TASK,
    &push_back::TASK,
    &push_wall::TASK,
    &reach::TASK,
    &reach_wall::TASK,
    &shelf_place::TASK,
    &soccer::TASK,
    &stick_pull::TASK,
    &stick_push::TASK,
    &sweep::TASK,
    &sweep_into::TASK,
    &window_close::TASK,
    &window_open::TASK,
};

}  // namespace metaworld
