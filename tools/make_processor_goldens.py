#!/usr/bin/env python3
"""Golden vectors of the steps around the model, from LeRobot's and openpi's own code.

  python tools/make_processor_goldens.py --lerobot <lerobot>/src --openpi <openpi>/src

Writes tests/golden/processors/*.json; tests/golden/README.md describes them. Needs torch, NumPy
and JAX. LeRobot computes in float32: its numbers are written as the decimal that float32 needs,
so that reading them as double and rounding to float gives the same bits. openpi computes with
float64 statistics.
"""

import argparse
import importlib
import json
import os
import sys
from dataclasses import dataclass

import numpy as np
import torch

import lerobot_stubs

SEED = 20
MODES = ("IDENTITY", "MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10")


def numbers(values):
    """Nested lists whose decimals name exactly the float32 or float64 values."""
    array = values.numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.dtype == np.float32:
        flat = [float(str(v)) for v in array.reshape(-1)]
        return np.array(flat, dtype=np.float64).reshape(array.shape).tolist()
    return array.astype(np.float64).tolist()


def random_statistics(rng, dim):
    """Statistics with the awkward columns first: no spread at all, a tiny one, a huge one."""
    mean, std = rng.normal(size=dim), rng.uniform(0.5, 1.5, dim)
    spread = {"q01": -2.3, "q10": -1.3, "q50": 0.1, "q90": 1.2, "q99": 2.4, "min": -3, "max": 3.1}
    stats = {"mean": mean, "std": std} | {k: mean + f * std for k, f in spread.items()}
    for column, scale in ((0, 0.0), (1, 1e-9), (2, 1e6)):
        if column < dim:
            stats["std"][column] *= scale
            for k, f in spread.items():
                stats[k][column] = mean[column] + f * std[column]
    return stats


def chunk(rng, rows, dim):
    """Normalised actions, some of them outside [-1, 1], one exactly -1."""
    actions = rng.normal(scale=0.8, size=(rows, dim))
    actions[0, 0] = -1.0
    return actions


def import_lerobot(source):
    lerobot_stubs.install(os.path.abspath(source))
    return (importlib.import_module("lerobot.processor.normalize_processor"),
            importlib.import_module("lerobot.processor.relative_action_processor"))


def lerobot_case(module, rng, mode, eps, dim):
    key = module.TransitionKey
    stats = {k: v.astype(np.float32) for k, v in random_statistics(rng, dim).items()}
    action_stats = {k: v.astype(np.float32) for k, v in random_statistics(rng, dim).items()}
    state = torch.tensor(rng.normal(size=(1, dim)), dtype=torch.float32)
    state[0, 0] = float(stats["mean"][0])  # where the spread is 0, the usual value
    actions = torch.tensor(chunk(rng, 3, dim), dtype=torch.float32)
    config = dict(features={"observation.state": {"type": "STATE", "shape": [dim]},
                            "action": {"type": "ACTION", "shape": [dim]}},
                  norm_map={"STATE": mode, "ACTION": mode}, eps=eps,
                  stats={"observation.state": stats, "action": action_stats})
    before, after = (kind(**config) for kind in (module.NormalizerProcessorStep,
                                                 module.UnnormalizerProcessorStep))
    normalised = before({key.OBSERVATION: {"observation.state": state}, key.ACTION: None})
    raw = after({key.OBSERVATION: None, key.ACTION: actions[None]})
    return {"mode": mode, "eps": eps,
            "state_statistics": {k: numbers(v) for k, v in stats.items()},
            "action_statistics": {k: numbers(v) for k, v in action_stats.items()},
            "state": numbers(state[0]),
            "normalised_state": numbers(normalised[key.OBSERVATION]["observation.state"][0]),
            "normalised_actions": numbers(actions), "actions": numbers(raw[key.ACTION][0])}


def lerobot_normalisation(source):
    module, _ = import_lerobot(source)
    rng = np.random.default_rng(SEED)
    return [lerobot_case(module, rng, mode, eps, dim)
            for mode in MODES for eps, dim in ((1e-8, 6), (1e-3, 1))]


def lerobot_relative(source):
    _, module = import_lerobot(source)
    key = module.TransitionKey
    rng = np.random.default_rng(SEED + 1)
    arm = [f"{joint}.pos" for joint in ("shoulder_pan", "elbow_flex", "wrist_roll", "gripper")]
    two = [f"{side}_{name}" for side in ("left", "right") for name in ("waist", "GRIPPER", "wrist")]
    cases = []
    for names, exclude, dim in ((arm, ["gripper"], 4), (two, ["Gripper", "wrist"], 6),
                                (two, [], 6), (None, ["gripper"], 3), (arm, ["gripper"], 6),
                                (arm, ["", "nothing"], 4), (arm, ["pan", "elbow_flex.pos"], 4)):
        state = torch.tensor(rng.normal(size=(1, dim)), dtype=torch.float32)
        actions = torch.tensor(chunk(rng, 2, dim), dtype=torch.float32)[None]
        relative = module.RelativeActionsProcessorStep(enabled=True, exclude_joints=exclude,
                                                       action_names=names)
        absolute = module.AbsoluteActionsProcessorStep(enabled=True, relative_step=relative)
        given = {key.OBSERVATION: {"observation.state": state}, key.ACTION: actions}
        became = relative(given)[key.ACTION]
        cases.append({"action_names": names, "exclude_joints": exclude,
                      "mask": relative._build_mask(dim), "state": numbers(state[0]),
                      "actions": numbers(actions[0]), "relative": numbers(became[0]),
                      "absolute": numbers(absolute({key.ACTION: actions})[key.ACTION][0])})
    return cases


def flatten(tree, sep="/", prefix=""):
    flat = {}
    for k, v in tree.items():
        flat |= flatten(v, sep, prefix + k + sep) if isinstance(v, dict) else {prefix + k: v}
    return flat


def import_openpi(source):
    """openpi.transforms and aloha_policy; what they import for tokens and images is a stub."""
    if "openpi" not in sys.modules:
        stub = lerobot_stubs.stub
        stub("flax")
        stub("flax.traverse_util", flatten_dict=flatten, unflatten_dict=lambda t, sep: dict(t))
        stub("einops")
        stub("openpi_client", image_tools=None)
        for name in ("openpi", "openpi.models", "openpi.shared", "openpi.policies"):
            lerobot_stubs.package(source, name)
        stub("openpi.models.tokenizer", PaligemmaTokenizer=None, FASTTokenizer=None)
        stub("openpi.shared.array_typing", PyTree=dict)
        stub("openpi.shared.normalize", NormStats=NormStats)
    return (importlib.import_module("openpi.transforms"),
            importlib.import_module("openpi.policies.aloha_policy"))


@dataclass
class NormStats:
    """openpi's container of the same name, without its validation."""

    mean: np.ndarray
    std: np.ndarray
    q01: np.ndarray
    q99: np.ndarray


def openpi_case(transforms, rng, quantiles, dims):
    """dims: those of the state, its statistics, the actions and their statistics."""
    state_dim, state_stats_dim, action_dim, action_stats_dim = dims
    made = [random_statistics(rng, n) for n in (state_stats_dim, action_stats_dim)]
    stats = {name: NormStats(**{k: s[k] for k in ("mean", "std", "q01", "q99")})
             for name, s in zip(("state", "actions"), made)}
    state, actions = rng.normal(size=state_dim), chunk(rng, 3, action_dim).astype(np.float32)
    state[0] = stats["state"].mean[0]
    result = {"mode": "QUANTILES" if quantiles else "MEAN_STD", "eps": 1e-6,
              "state_statistics": {k: numbers(v) for k, v in vars(stats["state"]).items()},
              "action_statistics": {k: numbers(v) for k, v in vars(stats["actions"]).items()},
              "state": numbers(state), "normalised_actions": numbers(actions)}
    try:
        forward = transforms.Normalize(stats, use_quantiles=quantiles)({"state": state})
        result["normalised_state"] = numbers(forward["state"])
    except ValueError as error:
        result["state_error"] = str(error)
    try:
        inverse = transforms.Unnormalize({"actions": stats["actions"]}, use_quantiles=quantiles)
        result["actions"] = numbers(inverse({"actions": actions})["actions"])
    except ValueError as error:
        result["actions_error"] = str(error)
    return result


def openpi_normalisation(source):
    transforms, _ = import_openpi(source)
    rng = np.random.default_rng(SEED + 2)
    # As is; statistics padded to the model; shorter than the chunk; too short; too long.
    shapes = ((6, 6, 6, 6), (4, 8, 8, 8), (7, 32, 32, 7), (5, 3, 8, 6), (3, 3, 4, 6))
    return [openpi_case(transforms, rng, quantiles, dims)
            for quantiles in (False, True) for dims in shapes]


def openpi_delta(source):
    transforms, _ = import_openpi(source)
    rng = np.random.default_rng(SEED + 3)
    cases = []
    for dims, columns in (((6, -1, 6, -1), 14), ((7, -1), 32), ((2, -2, 1), 5), ((-3,), 4)):
        mask = transforms.make_bool_mask(*dims)
        state, actions = rng.normal(size=len(mask)), chunk(rng, 2, columns)
        data = {"state": state, "actions": actions.copy()}
        cases.append({"mask": list(mask), "state": numbers(state), "actions": numbers(actions),
                      "delta": numbers(transforms.DeltaActions(mask)(data)["actions"]),
                      "absolute": numbers(transforms.AbsoluteActions(mask)(
                          {"state": state, "actions": actions.copy()})["actions"])})
    return cases


def openpi_aloha(source):
    _, aloha = import_openpi(source)
    rng = np.random.default_rng(SEED + 4)
    cases = []
    grippers = ((0.0, 1.0), (0.5, 0.25), (-0.4, 1.7), (0.999, 1e-3), (-1.0, 12.0))
    for left, right in grippers:
        state, actions = rng.normal(size=14), rng.normal(size=(2, 14))
        state[[6, 13]] = actions[0, [6, 13]] = left, right
        cases.append({
            "state": numbers(state), "actions": numbers(actions),
            "pi_state": numbers(aloha._decode_state(state.copy(), adapt_to_pi=True)),
            "aloha_actions": numbers(aloha._encode_actions(actions.copy(), adapt_to_pi=True)),
            "pi_actions": numbers(aloha._encode_actions_inv(actions.copy(), adapt_to_pi=True))})
    return cases


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--lerobot", required=True, help="the src/ directory that contains lerobot/")
    ap.add_argument("--openpi", required=True, help="the src/ directory that contains openpi/")
    ap.add_argument("--out", default=os.path.join(here, "..", "tests", "golden", "processors"))
    args = ap.parse_args()
    os.makedirs(args.out, exist_ok=True)
    made = {"lerobot_normalisation": lerobot_normalisation(args.lerobot),
            "lerobot_relative": lerobot_relative(args.lerobot),
            "openpi_normalisation": openpi_normalisation(os.path.abspath(args.openpi)),
            "openpi_delta": openpi_delta(os.path.abspath(args.openpi)),
            "openpi_aloha": openpi_aloha(os.path.abspath(args.openpi))}
    for name, cases in made.items():
        with open(os.path.join(args.out, name + ".json"), "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(c, allow_nan=False) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
