"""The tasks of RLBench by name. ``reach_target`` is the class ``ReachTarget`` of the module ``rlbench.tasks.reach_target``."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

_BOTH = """
 beat_the_buzz block_pyramid change_channel change_clock close_box close_door close_drawer close_fridge close_grill close_jar
close_laptop_lid close_microwave empty_container empty_dishwasher get_ice_from_fridge hang_frame_on_hanger hit_ball_with_queue hockey
insert_usb_in_computer lamp_off lamp_on light_bulb_in light_bulb_out meat_off_grill meat_on_grill move_hanger open_box open_door
open_drawer open_fridge open_grill open_jar open_microwave open_oven open_window open_wine_bottle phone_on_base pick_and_lift pick_up_cup
place_cups place_hanger_on_rack place_shape_in_shape_sorter play_jenga plug_charger_in_power_supply pour_from_cup_to_cup press_switch
push_button push_buttons put_all_groceries_in_cupboard put_books_on_bookshelf put_bottle_in_fridge put_groceries_in_cupboard
put_item_in_drawer put_knife_in_knife_block put_knife_on_chopping_board put_money_in_safe put_plate_in_colored_dish_rack
put_rubbish_in_bin put_shoes_in_box put_toilet_roll_on_stand put_tray_in_oven put_umbrella_in_umbrella_stand reach_and_drag reach_target
remove_cups scoop_with_spatula screw_nail set_the_table setup_checkers slide_block_to_target slide_cabinet_open
slide_cabinet_open_and_place_cups solve_puzzle stack_blocks stack_cups stack_wine straighten_rope sweep_to_dustpan
take_cup_out_from_cabinet take_frame_off_hanger take_item_out_of_drawer take_lid_off_saucepan take_money_out_safe take_off_weighing_scales
take_plate_off_colored_dish_rack take_shoes_out_of_box take_toilet_roll_off_stand take_tray_out_of_oven
take_umbrella_out_of_umbrella_stand take_usb_out_of_computer toilet_seat_down toilet_seat_up turn_oven_on turn_tap tv_on unplug_charger
water_plants weighing_scales wipe_desk
"""
_ONLY_1_1 = "hannoi_square tv_off"
_ONLY_1_2 = """
basketball_in_hoop insert_onto_square_peg lift_numbered_block open_washing_machine pick_and_lift_small setup_chess stack_chairs
"""
KNOWN = tuple(sorted(f"{_BOTH} {_ONLY_1_1} {_ONLY_1_2}".split()))
"""of RLBench 1.1 and 1.2"""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def tasks() -> tuple[str, ...]:
    """All tasks: where RLBench is installed those of its folder, which is only looked into, else those that are known to exist."""
    folder = _folder()
    found = [] if folder is None else [path.stem for path in folder.glob("*.py") if _NAME.fullmatch(path.stem)]
    return tuple(sorted(found)) or KNOWN


def class_name(task: str) -> str:
    """``reach_target`` -> ``ReachTarget``, as RLBench's own tools do it."""
    return "".join(word[:1].upper() + word[1:] for word in task.split("_"))


def is_name(task: str) -> bool:
    """Whether it can be the name of a task's module."""
    return bool(_NAME.fullmatch(task))


def installed() -> bool:
    """Whether RLBench is there to be imported, and not another thing of that name."""
    return _folder() is not None


def _folder() -> Path | None:
    """Where RLBench's tasks are. Finding a top-level package imports nothing."""
    try:
        spec = importlib.util.find_spec("rlbench")
    except (ImportError, ValueError):  # ValueError: something half-made of that name is loaded
        return None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "tasks" / "__init__.py").is_file():
            return Path(place) / "tasks"
    return None
