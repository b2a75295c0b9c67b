"""The peer of ``bench/c2farm_update.py``: stepjam/ARM, from a folder with its ``arm``, unmodified. What it imports and is not installed
(renderers, torchvision, its training loop YARR and RLBench) is stubbed: none of it is called by an update or an action.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from c2farm_scene import BINS, BOUNDS, CROP, INTRINSICS, LOW_DIM, PIXELS, REACH, VOXELS, Scenes, camera, pixel
from c2farm_sides import ACT, DEVICE, IMAGES, SOURCE, Sizes, Update, boxes, initial, said
from sac_sides import Mode

PARTS = {
    "wide": "_1x1conv",
    "near0": "_1x1conv_a",
    "near1": "_3x3conv",
    "far0": "_1x1conv_b",
    "far1": "_5x5_via_3x3conv_a",
    "far2": "_5x5_via_3x3conv_b",
}
BLOCKS = {"in": "_input_preprocess", **{f"down{n}": f"_down{n}" for n in range(3)}}
BLOCKS |= {f"up{n}.{part}": f"_up{n}.conv_up.{at}" for n in (1, 2) for part, at in (("low", 0), ("high", 2))}
LAYERS = {"proprio": "_proprio_preprocess.linear", "final": "_final.conv3d", "q": "_final2.conv3d"}
LAYERS |= {f"dense{n}": f"_dense{n}.linear" for n in range(3)}


class Stub(ModuleType):
    """Whatever is asked of it is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def load(folder: str) -> Any:
    """Its modules, without the packages' own ``__init__``, which would import RLBench."""
    stubs = ("torchvision", "yarr", "yarr.agents", "yarr.agents.agent", "pyrender", "pyrender.trackball", "trimesh")
    for name in (*stubs, "rlbench", "rlbench.backend", "rlbench.backend.const"):
        sys.modules[name] = Stub(name)
    sys.modules["yarr.agents.agent"].ActResult = lambda action, **more: SimpleNamespace(action=action, **more)  # type: ignore[attr-defined]
    for name in ("arm", "arm.c2farm"):
        package = ModuleType(name)
        package.__path__ = [str(Path(folder, *name.split(".")))]
        sys.modules[name] = package
    names = ("networks", "qattention_agent", "qattention_stack_agent")
    return SimpleNamespace(**{name: import_module(f"arm.c2farm.{name}") for name in names})


class Arm:
    """Its stack of two agents with the settings that it ships. The batch is ready: tensors as its preprocessing leaves them."""

    packages = ("torch", "numpy", "scipy")

    def __init__(self, sizes: Sizes, scenes: Scenes, threads: int, note: str) -> None:
        torch.set_num_threads(threads)
        self.arm, self.scenes, self.note = load(os.environ[SOURCE]), scenes, note
        self.device = torch.device(os.environ.get(DEVICE, "cpu"))
        self.learner, self.actor = self.agent(sizes.batch, training=True), self.agent(1, training=False)
        self.sample, self.observation = self.batch(), self.looks()
        self.first, self.acted = Update([], [], []), []
        self.modes = {IMAGES: Mode(self.update, 1, least=1), ACT: Mode(self.act, 1, least=3)}

    @property
    def about(self) -> dict[str, Any]:
        return said(self.first, [sum(p.numel() for p in part._q.parameters()) for part in self.parts(self.learner)], self.acted)

    @staticmethod
    def parts(agent: Any) -> list[Any]:
        return agent._qattention_agents

    def agent(self, batch: int, *, training: bool) -> Any:
        parts = []
        for depth in range(2):
            net = self.arm.networks.Qattention3DNet(
                in_channels=10,
                out_channels=1,
                out_dense=(3 * BINS + 2) * depth,
                voxel_size=VOXELS,
                low_dim_size=LOW_DIM,
                kernels=64,
                activation="lrelu",
                dense_feats=128,
            )
            part = self.arm.qattention_agent.QAttentionAgent(
                layer=depth,
                coordinate_bounds=BOUNDS.tolist(),
                unet3d=net,
                camera_names=["front"],
                batch_size=batch,
                voxel_size=VOXELS,
                bounds_offset=REACH if depth else None,
                voxel_feature_size=3,
                image_crop_size=CROP,
                exploration_strategy="gaussian",
                num_rotation_classes=BINS,
                rotation_resolution=360 / BINS,
                tau=0.0025,
                lr=5e-4,
                lambda_trans_qreg=1.0,
                lambda_rot_qreg=1.0,
                grad_clip=0.01,
                include_low_dim_state=True,
                image_resolution=[PIXELS, PIXELS],
                lambda_weight_l2=1e-6,
            )
            parts.append(part)
        agent = self.arm.qattention_stack_agent.QAttentionStackAgent(parts, 360 / BINS, ["front"])
        agent.build(training=training, device=self.device)
        for part, (sizes, params) in zip(parts, initial(), strict=True):
            for one in [part._q] + ([part._q_target] if training else []):
                begin(one._qnet, params, sizes)
        return agent

    def seen(self, when: int) -> dict[str, torch.Tensor]:
        """Images of all rows, (B, 1, 3, 128, 128)."""
        from algos.lib.voxels import cloud

        scenes = self.scenes
        points = np.stack([cloud(depth, INTRINSICS, camera()).reshape(PIXELS, PIXELS, 3) for depth in scenes.depth[when]])
        images = {"front_rgb": scenes.colour[when] / np.float32(255) * 2 - 1, "front_point_cloud": points}
        tensors = {k: torch.from_numpy(v.astype(np.float32)).permute(0, 3, 1, 2)[:, None].contiguous() for k, v in images.items()}
        return tensors | {"low_dim_state": torch.from_numpy(scenes.low_dim[when])[:, None]}

    def batch(self) -> dict[str, torch.Tensor]:
        from algos.lib.voxels import label

        scenes, bounds, sample = self.scenes, boxes(self.scenes), {}
        for when, suffix in enumerate(("", "_tp1")):
            middles = (bounds[1, when, :, :3] + bounds[1, when, :, 3:]) / 2
            more = {
                "attention_coordinate_layer_0": torch.from_numpy(middles).float()[:, None],
                "front_pixel_coord": torch.tensor(np.stack([pixel(p) for p in scenes.position[when]])).float()[:, None],
            }
            sample |= {f"{name}{suffix}": value for name, value in (self.seen(when) | more).items()}
        places = [[label(p, b, VOXELS) for p, b in zip(scenes.position[0], bounds[depth, 0], strict=True)] for depth in range(2)]
        sample["trans_action_indicies"] = torch.tensor(np.concatenate([np.stack(part) for part in places], 1)).int()[:, None]
        turns = np.concatenate([scenes.rotation, scenes.gripper[:, None]], 1)
        sample["rot_grip_action_indicies"] = torch.tensor(turns).int()[:, None]
        sample["reward"], sample["terminal"] = torch.tensor(scenes.reward * 100), torch.tensor(scenes.terminal)
        sample["sampling_probabilities"] = torch.tensor(scenes.probability)
        return {name: value.to(self.device) for name, value in sample.items()}

    def looks(self) -> dict[str, torch.Tensor]:
        """What an action is asked for, of the first row."""
        frames = {"front_camera_extrinsics": camera(), "front_camera_intrinsics": INTRINSICS}
        fixed = {name: torch.tensor(value)[None, None] for name, value in frames.items()}
        return {name: value.to(self.device) for name, value in (fixed | {k: v[:1] for k, v in self.seen(0).items()}).items()}

    def update(self) -> None:
        first = not self.first.loss
        before = [[p.detach().clone() for p in part._q.parameters()] for part in self.parts(self.learner)] if first else []
        self.learner.update(0, dict(self.sample))["priority"].cpu()
        if first:
            for part, old in zip(self.parts(self.learner), before, strict=True):
                self.first.loss.append(float(part._summaries["losses/total_loss"].detach()))
                self.first.q_mean.append(float(part._summaries["q/mean_qattention"].detach()))
                changes = [(p.detach() - o).double().square().sum() for p, o in zip(part._q.parameters(), old, strict=True)]
                self.first.moved.append(float(sum(changes) ** 0.5))

    def act(self) -> None:
        result = self.actor.act(0, dict(self.observation))
        self.acted = result.observation_elements["trans_action_indicies"].reshape(2, 3).tolist()


@torch.no_grad()
def begin(net: Any, params: dict[str, torch.Tensor], sizes: Any) -> None:
    """Our weights in its network. It has the first two coordinates of a channel's peak the other way round."""
    theirs = dict(net.named_parameters())
    given = dict(params)
    if sizes.heads:
        C, at, order = sizes.channels, 0, []
        for channels in (C, 2 * C, 4 * C, C):
            places = np.arange(3 * channels).reshape(channels, 3)[:, [1, 0, 2]].ravel()
            order += [*(at + places), *range(at + 3 * channels, at + 4 * channels)]
            at += 4 * channels
        given["dense0.w"] = given["dense0.w"][:, order]
    for name, value in given.items():
        layer, kind = name.rsplit(".", 1)
        block, _, part = layer.rpartition(".")
        place = LAYERS[layer] if layer in LAYERS else f"{BLOCKS[block]}.{PARTS[part]}.conv3d"
        leaf = theirs.pop(f"{place}.{'weight' if kind == 'w' else 'bias'}")
        leaf.copy_(value.reshape(leaf.shape))
    if theirs:
        raise ValueError(f"the peer's network has more layers: {', '.join(theirs)}")
