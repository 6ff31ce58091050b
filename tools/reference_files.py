"""Writes the checkpoints of lerobot_reference.py in the layouts that the public ones have."""

import json
import os

import torch
from safetensors.torch import save_file as save_private_file

PALIGEMMA = "paligemma_with_expert.paligemma."
EXPERT = "paligemma_with_expert.gemma_expert."
TOKENS = PALIGEMMA + "model.language_model.embed_tokens.weight"
HEAD = PALIGEMMA + "lm_head.weight"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# openpi keeps these in float32 inside a bfloat16 file.
MIXED_F32 = ("patch_embedding", "position_embedding", "input_layernorm",
             "post_attention_layernorm", "model.norm", "action_", "time_mlp_", "state_proj")

LEGACY = ((PALIGEMMA + "model.vision_tower.", PALIGEMMA + "vision_tower."),
          (PALIGEMMA + "model.multi_modal_projector.", PALIGEMMA + "multi_modal_projector."),
          (PALIGEMMA + "model.language_model.", PALIGEMMA + "language_model.model."),
          (HEAD, PALIGEMMA + "language_model.lm_head.weight"))


def save_file(tensors, path, metadata=None):
    save_private_file(tensors, path, metadata=metadata)
    os.chmod(path, 0o644)  # safetensors makes files that only their owner can read


def storage_dtype(name, file_dtype):
    """The type in which a tensor is stored, or None to keep the type that the model has."""
    if file_dtype == "mixed":
        single = any(part in name for part in MIXED_F32)
        return torch.float32 if single else torch.bfloat16
    return DTYPES.get(file_dtype)


def public_key(name, style, swap_time_mlp=False):
    """The name of a tensor of the model in a checkpoint of the given style."""
    bare = name.replace(".vision_tower.vision_model.", ".vision_tower.")
    if style != "no-vision-model":
        bare = bare.replace(".vision_tower.", ".vision_tower.vision_model.")
    if style == "legacy":
        for new, old in LEGACY:
            bare = old + bare[len(new):] if bare.startswith(new) else bare
    if swap_time_mlp:
        pi0 = bare.startswith("action_time_mlp_")
        if pi0 or bare.startswith("time_mlp_"):
            bare = bare.removeprefix("action_") if pi0 else "action_" + bare
    return bare if style == "openpi" else "model." + bare


def canonical_key(name):
    """Undoes public_key, but for the vision_model level and the time MLP."""
    bare = name.removeprefix("model.")
    for new, old in LEGACY:
        bare = new + bare[len(old):] if bare.startswith(old) else bare
    return bare


def statistics(args):
    """Random statistics of the state and the actions, under LeRobot's names."""
    generator = torch.Generator().manual_seed(args.seed + 2)
    result = {}
    for key, dim in (("observation.state", args.state_dim), ("action", args.action_dim)):
        mean = torch.randn(dim, generator=generator)
        std = torch.rand(dim, generator=generator) + 0.5
        result |= {f"{key}.mean": mean, f"{key}.std": std,
                   f"{key}.q01": mean - 2.3 * std, f"{key}.q99": mean + 2.3 * std,
                   f"{key}.min": mean - 3 * std, f"{key}.max": mean + 3 * std}
    return result


def stored_tensors(model, args):
    """What goes into model.safetensors: names and values as stored."""
    tensors = {}
    for name, value in model.state_dict().items():
        if args.drop_unused and name.startswith(EXPERT + "lm_head"):
            continue
        if (name == TOKENS and args.embed == "head") or (name == HEAD and args.embed == "tokens"):
            continue
        if name == HEAD and args.embed == "both":
            value = value.flip(0)  # a trained head differs from the embedding
        dtype = storage_dtype(name, args.file_dtype) or value.dtype
        key = public_key(name, args.key_style, args.swap_time_mlp)
        tensors[key] = value.detach().to(dtype).cpu().contiguous()
    if args.key_style == "legacy":
        stats = statistics(args)
        for owner, feature, key in (("normalize_inputs", "observation_state", "observation.state"),
                                    ("normalize_targets", "action", "action"),
                                    ("unnormalize_outputs", "action", "action")):
            for kind in ("mean", "std"):
                tensors[f"{owner}.buffer_{feature}.{kind}"] = stats[f"{key}.{kind}"].clone()
    return tensors


def write_weights(model, args):
    tensors = stored_tensors(model, args)
    metadata = {"format": "pt"}
    if args.shards == 1:
        save_file(tensors, os.path.join(args.out, "model.safetensors"), metadata=metadata)
        return
    where = {}
    for i in range(args.shards):  # dealt out in turn, so that each layer is in several files
        name = f"model-{i + 1:05d}-of-{args.shards:05d}.safetensors"
        part = {k: tensors[k] for k in sorted(tensors)[i::args.shards]}
        save_file(part, os.path.join(args.out, name), metadata=metadata)
        where |= dict.fromkeys(part, name)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    write_json(args, "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))})


def write_json(args, name, value):
    path = os.path.join(args.out, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump(value, file, indent=2)


def write_openpi_files(args):
    """config.json and the statistics as openpi's conversion to PyTorch leaves them."""
    write_json(args, "config.json",
               {"action_dim": args.max_action_dim, "action_horizon": args.chunk,
                "paligemma_variant": "gemma_2b", "action_expert_variant": "gemma_300m",
                "precision": "bfloat16"})
    stats = statistics(args)
    names = {"state": "observation.state", "actions": "action"}
    norm_stats = {name: {kind: stats[f"{key}.{kind}"].tolist()
                         for kind in ("mean", "std", "q01", "q99")}
                  for name, key in names.items()}
    for root in ("", "orbax/") if args.orbax else ("",):
        write_json(args, root + "assets/tiny/norm_stats.json", {"norm_stats": norm_stats})


def features(args):
    size = args.image_size
    cameras = {f"observation.images.cam{i}": {"type": "VISUAL", "shape": [3, size, size]}
               for i in range(args.views)}
    return cameras | {"observation.state": {"type": "STATE", "shape": [args.state_dim]}}


def lerobot_config(args, norm_map, action):
    return {"type": args.model, "n_obs_steps": 1, "input_features": features(args),
            "output_features": action, "device": args.device, "use_amp": False,
            "dtype": args.dtype, "paligemma_variant": "gemma_2b",
            "action_expert_variant": "gemma_300m", "chunk_size": args.chunk,
            "n_action_steps": args.chunk, "max_state_dim": args.max_state_dim,
            "max_action_dim": args.max_action_dim, "num_inference_steps": args.steps,
            "min_period": 0.004, "max_period": 4.0,
            "image_resolution": [args.image_size, args.image_size], "empty_cameras": 0,
            "tokenizer_max_length": args.tokens_max, "normalization_mapping": norm_map}


def processor_step(name, config=None, state_file=None):
    step = {"registry_name": name, "config": config or {}}
    return step | ({"state_file": state_file} if state_file else {})


def write_lerobot_files(args):
    """config.json, the two processors and their statistics, as LeRobot saves them."""
    action = {"action": {"type": "ACTION", "shape": [args.action_dim]}}
    kind = "MEAN_STD" if args.model == "pi0" else "QUANTILES"
    norm_map = {"VISUAL": "IDENTITY", "STATE": kind, "ACTION": kind}
    write_json(args, "config.json", lerobot_config(args, norm_map, action))

    index = 6 if args.model == "pi0" else 3
    before = f"policy_preprocessor_step_{index}_normalizer_processor.safetensors"
    after = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
    tokenizer = processor_step("tokenizer_processor", {
        "max_length": args.tokens_max, "task_key": "task", "padding_side": "right",
        "padding": "max_length", "truncation": True,
        "tokenizer_name": "google/paligemma-3b-pt-224"})
    relative = processor_step("relative_actions_processor", {
        "enabled": False, "exclude_joints": ["gripper"], "action_names": None})
    device = processor_step("device_processor", {"device": args.device, "float_dtype": None})
    normalizer = processor_step("normalizer_processor", {
        "eps": 1e-8, "features": features(args) | action, "norm_map": norm_map}, before)
    head = [processor_step("rename_observations_processor", {"rename_map": {}}),
            processor_step("to_batch_processor")]
    if args.model == "pi0":
        steps = head + [processor_step("pi0_new_line_processor"), tokenizer, device, relative,
                        normalizer]
    else:
        prompt = processor_step("pi05_prepare_state_tokenizer_processor_step")
        steps = head + [relative, normalizer, prompt, tokenizer, device]
    write_json(args, "policy_preprocessor.json", {"name": "policy_preprocessor", "steps": steps})
    write_json(args, "policy_postprocessor.json", {"name": "policy_postprocessor", "steps": [
        processor_step("unnormalizer_processor",
                       {"eps": 1e-8, "features": action, "norm_map": norm_map}, after),
        processor_step("absolute_actions_processor", {"enabled": False}),
        processor_step("device_processor", {"device": "cpu", "float_dtype": None})]})
    for name in (before, after):
        save_file(statistics(args), os.path.join(args.out, name))
