#!/usr/bin/env python3
"""Random Pi0 and Pi0.5 checkpoints in public layouts, and what LeRobot's own modules compute.

Needs torch, transformers, safetensors and LeRobot's sources (0.6.2); --orbax needs
orbax-checkpoint. LeRobot itself need not be installed. From the root of the repository:

  S=<lerobot>/src
  python tools/lerobot_reference.py --lerobot $S --probe             # check the versions
  python tools/lerobot_reference.py --lerobot $S --model pi0 --out D # tiny, CPU, float32
  python tools/lerobot_reference.py --lerobot $S --model pi05 --size full --dtype bfloat16 \\
      --device cuda --out D
  # another reference for the checkpoint in D: other inputs, D/ref_one_view.safetensors
  python tools/lerobot_reference.py --lerobot $S --model pi0 --out D --load D --no-weights \\
      --ref one_view --views 1 --seed 7

--load takes a safetensors file, an index.json or a directory; the flags of the dims must be those
that the checkpoint was made with. Weights are rounded to --file-dtype before the reference runs,
so the reference sees the values that the file holds. tests/golden/README.md describes what is
written.
"""

import argparse
import copy
import importlib
import inspect
import json
import math
import os
import sys
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import nn

import lerobot_stubs
import reference_files as files
from reference_files import HEAD, TOKENS

TINY = dict(vision_width=48, vision_layers=2, vision_mlp=72, vision_heads=4, width=64, mlp=128,
            expert_width=32, expert_mlp=64, depth=3, head_dim=16, vocab=512, image_size=28,
            chunk=6, tokens_max=12)
FULL = dict(vision_width=1152, vision_layers=27, vision_mlp=4304, vision_heads=16, width=2048,
            mlp=16384, expert_width=1024, expert_mlp=4096, depth=18, head_dim=256, vocab=257152,
            image_size=224, chunk=50, tokens_max=None)
FREE_IN_FULL = {"chunk", "tokens_max"}


def log(*values):
    print(*values, file=sys.stderr, flush=True)


def add_run_flags(ap):
    ap.add_argument("--lerobot", required=True, help="the src/ directory that contains lerobot/")
    ap.add_argument("--model", choices=["pi0", "pi05"], default="pi0")
    ap.add_argument("--size", choices=["tiny", "full"], default="tiny")
    ap.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32",
                    help="of the computation")
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--out", help="directory to write")
    ap.add_argument("--load", help="weights to read instead of random ones")
    ap.add_argument("--probe", action="store_true", help="check the versions and stop")
    ap.add_argument("--tf32", action="store_true", help="allow TF32, as openpi does")
    ap.add_argument("--ref", default="", help="write ref_NAME.safetensors, not ref.safetensors")
    ap.add_argument("--views", type=int, default=2)
    ap.add_argument("--mask-views", default="", help="views that are missing, such as 0,2")
    ap.add_argument("--mask-last-view", action="store_true", help="the last view is missing")
    ap.add_argument("--lang-len", default="", help="valid prompt tokens, or one number per row")
    ap.add_argument("--batch", type=int, default=1)
    ap.add_argument("--steps", type=int, default=10)
    ap.add_argument("--rtc", help="ROWS,DELAY,HORIZON,SCHEDULE,LIMIT of real-time chunking: rows of"
                    " the previous chunk, and RTCProcessor's arguments")
    ap.add_argument("--seed", type=int, default=0, help="of weights, inputs and statistics")


def add_file_flags(ap):
    ap.add_argument("--no-grid", action="store_true", help="keep weights that bf16 cannot hold")
    ap.add_argument("--no-weights", action="store_true", help="write the reference only")
    ap.add_argument("--drop-unused", action="store_true", help="omit gemma_expert.lm_head")
    ap.add_argument("--file-dtype", choices=[*files.DTYPES, "mixed"],
                    help="of the stored weights (default: as computed); mixed is openpi's")
    ap.add_argument("--shards", type=int, default=1)
    ap.add_argument("--key-style", choices=["lerobot", "openpi", "no-vision-model", "legacy"],
                    default="lerobot")
    ap.add_argument("--openpi-keys", action="store_true", help="--key-style openpi")
    ap.add_argument("--swap-time-mlp", action="store_true", help="the other model's names of it")
    ap.add_argument("--embed", choices=["head", "tokens", "both"], default="head",
                    help="where the token embedding is stored; both: with another lm_head")
    ap.add_argument("--layout", choices=["lerobot", "openpi"], default="lerobot",
                    help="of config.json, the processors and the statistics")
    ap.add_argument("--orbax", action="store_true", help="also write OUT/orbax/params")
    ap.add_argument("--orbax-value", action="store_true", help="as training saves: .../value")
    ap.add_argument("--orbax-chunks", type=int, choices=[1, 2, 4], default=1)
    for name in ("state-dim", "action-dim"):
        ap.add_argument("--" + name, type=int, help="of the robot, at most that of the model")
    for name in ("max-state-dim", "max-action-dim"):
        ap.add_argument("--" + name, type=int, default=32)
    for name in TINY:
        ap.add_argument("--" + name.replace("_", "-"), type=int)


def parse_args(argv):
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_flags(ap)
    add_file_flags(ap)
    args = ap.parse_args(argv)
    full = args.size == "full"
    for name, default in (FULL if full else TINY).items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif full and name not in FREE_IN_FULL:
            ap.error(f"--{name.replace('_', '-')} is for --size tiny")
    args.tokens_max = args.tokens_max or (48 if args.model == "pi0" else 200)
    args.state_dim = args.state_dim or args.max_state_dim
    args.action_dim = args.action_dim or args.max_action_dim
    args.key_style = "openpi" if args.openpi_keys else args.key_style
    args.lang_len = [int(n) for n in (args.lang_len or ("20" if full else "7")).split(",")]
    args.mask_views = {int(v) for v in args.mask_views.split(",") if v}
    args.mask_views |= {args.views - 1} if args.mask_last_view else set()
    if max(args.mask_views, default=0) >= args.views:
        ap.error(f"--mask-views {max(args.mask_views)}: there are {args.views} views")
    if min(args.lang_len) < 1 or max(args.lang_len) > args.tokens_max:
        ap.error(f"--lang-len must be from 1 to {args.tokens_max}")
    if args.orbax and (args.file_dtype == "float16" or (args.no_grid and args.file_dtype)):
        ap.error("--orbax holds float32, or bfloat16 values that are on the grid")
    return args


def load_modules(args):
    """LeRobot's module of the model, made to work with transformers where its API has drifted."""
    lerobot_stubs.install(os.path.abspath(args.lerobot))
    modeling = importlib.import_module(f"lerobot.policies.{args.model}.modeling_{args.model}")
    gemma = importlib.import_module("lerobot.policies.pi_gemma")
    parameters = inspect.signature(gemma.create_causal_mask).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        gemma.create_causal_mask = accept_known(gemma.create_causal_mask, parameters)
    original = getattr(modeling.clone_past_key_values, "original", modeling.clone_past_key_values)

    def clone(cache):
        try:
            return original(cache)
        except Exception:  # another container, the same values
            return copy.deepcopy(cache)

    clone.original = original
    modeling.clone_past_key_values = clone
    return modeling


def accept_known(function, parameters):
    """transformers >= 5.9 dropped arguments that LeRobot still passes."""
    def call(**given):  # its own **given tells a second load_modules that it is wrapped
        if "inputs_embeds" not in parameters and "input_embeds" in parameters:
            given["input_embeds"] = given.pop("inputs_embeds")
        return function(**{k: v for k, v in given.items() if k in parameters})
    return call


def tiny_classes(modeling, args):
    """LeRobot's GemmaConfig function and PaliGemmaWithExpertModel for other dims.

    The class builds the same module tree as LeRobot's, whose constructor fixes the vocabulary and
    the vision tower; its forward pass is inherited.
    """
    def gemma_config(variant):
        prefix = variant == "gemma_2b"
        return modeling.GemmaConfig(
            width=args.width if prefix else args.expert_width, depth=args.depth,
            mlp_dim=args.mlp if prefix else args.expert_mlp, num_heads=8, num_kv_heads=1,
            head_dim=args.head_dim)

    def text(c):
        return dict(hidden_size=c.width, intermediate_size=c.mlp_dim,
                    num_attention_heads=c.num_heads, head_dim=c.head_dim,
                    num_hidden_layers=c.depth, num_key_value_heads=c.num_kv_heads,
                    hidden_activation="gelu_pytorch_tanh", vocab_size=args.vocab)

    class TinyPaliGemmaWithExpert(modeling.PaliGemmaWithExpertModel):
        def __init__(self, vlm, expert, use_adarms=None, precision="float32", image_size=28,
                     freeze_vision_encoder=False, train_expert_only=False):
            nn.Module.__init__(self)
            self.freeze_vision_encoder = freeze_vision_encoder
            self.train_expert_only = train_expert_only
            ada = use_adarms or [False, False]
            kinds = modeling.CONFIG_MAPPING
            vision = dict(model_type="siglip_vision_model", hidden_size=args.vision_width,
                          intermediate_size=args.vision_mlp,
                          num_hidden_layers=args.vision_layers,
                          num_attention_heads=args.vision_heads, patch_size=14,
                          image_size=image_size, projection_dim=vlm.width,
                          hidden_act="gelu_pytorch_tanh", vision_use_head=False)
            config = kinds["paligemma"](text_config=dict(model_type="gemma", **text(vlm)),
                                        vision_config=vision, projection_dim=vlm.width)
            config.text_config.dtype = config.vision_config.dtype = "float32"
            expert_config = kinds["gemma"](**text(expert), dtype="float32")
            for c, on, width in ((config.text_config, ada[0], vlm.width),
                                 (expert_config, ada[1], expert.width)):
                c.use_adarms, c.adarms_cond_dim = on, (width if on else None)
            self.paligemma = modeling.PaliGemmaForConditionalGenerationWithPiGemma(config=config)
            self.gemma_expert = modeling.PiGemmaForCausalLM(config=expert_config)
            self.gemma_expert.model.embed_tokens = None
            self.to_bfloat16_for_selected_params(precision)
            self._set_requires_grad()

    return gemma_config, TinyPaliGemmaWithExpert


def build_model(modeling, args):
    config = SimpleNamespace(
        paligemma_variant="gemma_2b", action_expert_variant="gemma_300m", dtype=args.dtype,
        image_resolution=(args.image_size, args.image_size), freeze_vision_encoder=False,
        train_expert_only=False, max_action_dim=args.max_action_dim,
        max_state_dim=args.max_state_dim, chunk_size=args.chunk, num_inference_steps=args.steps,
        min_period=4e-3, max_period=4.0, compile_model=False, compile_mode="default",
        rtc_config=None, rtc_training_max_delay=0, use_proprioceptive_memory=False,
        use_visual_memory=False, memory_temporal_attention_every=4)
    original = modeling.get_gemma_config, modeling.PaliGemmaWithExpertModel
    if args.size == "tiny":
        modeling.get_gemma_config, modeling.PaliGemmaWithExpertModel = tiny_classes(modeling, args)
    try:
        with torch.device(args.device):
            kind = modeling.PI0Pytorch if args.model == "pi0" else modeling.PI05Pytorch
            return kind(config).to(args.device).eval()
    finally:
        modeling.get_gemma_config, modeling.PaliGemmaWithExpertModel = original


def spread(name, parameter):
    """Mean and standard deviation of random weights that keep activations of order one."""
    if parameter.dim() == 1:
        if name.endswith("bias"):
            return 0.0, 0.02
        return (1.0 if "vision_tower" in name else 0.0), 0.1  # Gemma multiplies by 1 + w
    if "position_embedding" in name:
        return 0.0, 0.05
    if "embed_tokens" in name or "lm_head" in name:
        return 0.0, parameter.shape[-1] ** -0.5
    if ".dense.weight" in name:
        return 0.0, 0.5 * parameter.shape[-1] ** -0.5
    return 0.0, math.prod(parameter.shape[1:]) ** -0.5


@torch.no_grad()
def randomise(model, args):
    """Draws the weights, rounded to the type in which they will be stored."""
    generator = torch.Generator(device=args.device).manual_seed(args.seed)
    for name, p in sorted(model.named_parameters()):
        mean, std = spread(name, p)
        w = torch.randn(p.shape, generator=generator, device=args.device, dtype=torch.float32)
        w = w.mul_(std).add_(mean)
        dtype = files.storage_dtype(name, args.file_dtype)
        if not args.no_grid and dtype != torch.float16:
            w = w.bfloat16().float()
        p.copy_(w.to(dtype).float() if dtype else w)
    parameters = dict(model.named_parameters())
    if HEAD in parameters:
        parameters[HEAD].copy_(parameters[TOKENS])


def read_tensors(path):
    """All tensors of a safetensors file, of the shards of an index, or of a directory."""
    if os.path.isdir(path):
        index = os.path.join(path, "model.safetensors.index.json")
        path = index if os.path.exists(index) else os.path.join(path, "model.safetensors")
    if not path.endswith(".json"):
        return load_file(path)
    with open(path) as file:
        shards = set(json.load(file)["weight_map"].values())
    tensors = {}
    for shard in sorted(shards):
        tensors |= load_file(os.path.join(os.path.dirname(path), shard))
    return dict(sorted(tensors.items()))


@torch.no_grad()
def load_weights(model, modeling, args):
    """Loads through the renaming of LeRobot's own loader, and fails where that would not."""
    tensors = {files.canonical_key(k): v for k, v in read_tensors(args.load).items()
               if "normalize_" not in k}
    policy = modeling.PI0Policy if args.model == "pi0" else modeling.PI05Policy
    fixed = policy._fix_pytorch_state_dict_keys(SimpleNamespace(model=model), tensors, None)
    state, own = {}, model.state_dict()
    nested = any(".vision_tower.vision_model." in k for k in own)
    for name, value in fixed.items():
        name = name.removeprefix("model.").replace(".vision_tower.vision_model.", ".vision_tower.")
        state[name.replace(".vision_tower.", ".vision_tower.vision_model.") if nested else name
              ] = value
    if HEAD in own and HEAD not in state:
        state[HEAD] = state[TOKENS]
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [k for k in missing if "gemma_expert.lm_head" not in k]
    if missing or unexpected:
        raise SystemExit(f"{args.load}: missing {missing[:8]}, unexpected {unexpected[:8]}")


@torch.no_grad()
def probe(model, args):
    """Checks the points where a version of transformers could silently change the result."""
    inner = model.paligemma_with_expert
    parameters = dict(model.named_parameters())
    embedding = parameters[TOKENS]
    token = torch.tensor([[5]], device=args.device)
    scale = inner.embed_language_tokens(token).float().norm() / embedding[5].float().norm()
    image = torch.zeros(1, 3, args.image_size, args.image_size, device=args.device)
    tower = inner.paligemma.model.vision_tower
    hidden = tower(image.to(next(tower.parameters()).dtype)).last_hidden_state
    plain = inner.paligemma.model.multi_modal_projector(hidden)
    dtypes = {}
    for p in parameters.values():
        dtypes[str(p.dtype)] = dtypes.get(str(p.dtype), 0) + p.numel()
    result = {
        "embed_scale": float(scale), "embed_scale_expected": math.sqrt(embedding.shape[1]),
        "image_feature_scale": float(inner.embed_image(image).float().norm()
                                     / plain.float().norm()),
        "siglip_attn_impl": getattr(tower.config, "_attn_implementation", "?"),
        "vision_keys_have_vision_model": any(".vision_tower.vision_model." in k
                                             for k in model.state_dict()),
        "rotary_inv_freq_dtype": str(inner.gemma_expert.model.rotary_emb.inv_freq.dtype),
        "dtypes": dtypes,
        "lm_head_tied": inner.paligemma.lm_head.weight.data_ptr() == embedding.data_ptr()}
    if abs(result["embed_scale"] / result["embed_scale_expected"] - 1) > 0.01:
        raise SystemExit("embed_tokens does not multiply by sqrt(width): transformers < 5.4?")
    if abs(result["image_feature_scale"] - 1) > 0.01:
        raise SystemExit("get_image_features divides by sqrt(width): transformers < 5.4?")
    return result


def draw_inputs(args):
    """Random inputs, drawn on the CPU so that every device gets the same."""
    generator = torch.Generator().manual_seed(args.seed + 1)
    batch, size = args.batch, args.image_size
    inputs = {f"in.image.{v}": torch.rand(batch, 3, size, size, generator=generator) * 2 - 1
              for v in range(args.views)}
    for v in range(args.views):
        missing = v in args.mask_views
        if missing:
            inputs[f"in.image.{v}"].fill_(-1.0)
        inputs[f"in.image_mask.{v}"] = torch.full((batch,), not missing)
    tokens = torch.randint(3, args.vocab, (batch, args.tokens_max), generator=generator)
    mask = torch.zeros(batch, args.tokens_max, dtype=torch.bool)
    tokens[:, 0] = 2
    for row in range(batch):
        length = args.lang_len[row % len(args.lang_len)]
        tokens[row, length:] = 0
        mask[row, :length] = True
    state = torch.randn(batch, args.max_state_dim, generator=generator)
    state[:, args.state_dim:] = 0
    noise = torch.randn(batch, args.chunk, args.max_action_dim, generator=generator)
    inputs |= {"in.tokens": tokens, "in.token_mask": mask, "in.state": state, "in.noise": noise}
    return {k: v.to(args.device) for k, v in inputs.items()}


def guide(model, args):
    """Gives the model a processor of real-time chunking. Returns the arguments that sample_actions
    takes for it, and the tensors that say the same."""
    from lerobot.configs import RTCAttentionSchedule
    from lerobot.policies.rtc.configuration_rtc import RTCConfig
    from lerobot.policies.rtc.modeling_rtc import RTCProcessor

    rows, delay, horizon, schedule, limit = args.rtc.split(",")
    rows, delay, horizon = int(rows), int(delay), int(horizon)
    generator = torch.Generator().manual_seed(args.seed + 3)
    left = torch.randn(args.batch, rows, args.action_dim, generator=generator)
    model.config.rtc_config = RTCConfig(
        prefix_attention_schedule=RTCAttentionSchedule[schedule], max_guidance_weight=float(limit))
    model.rtc_processor = RTCProcessor(model.config.rtc_config)
    previous = torch.zeros(args.batch, args.chunk, args.max_action_dim)
    previous[:, :rows, :args.action_dim] = left
    weights = model.rtc_processor.get_prefix_weights(delay, min(horizon, rows), args.chunk)
    given = {"inference_delay": delay, "prev_chunk_left_over": left.to(args.device),
             "execution_horizon": horizon}
    return given, {"in.previous": previous, "in.row_weights": weights.expand(args.batch, -1),
                   "in.max_guidance_weight": torch.full((args.batch,), float(limit))}


class Recorder:
    """Runs sample_actions once and keeps what passes between LeRobot's functions."""

    def __init__(self, model):
        self.tensors = {}
        self.images = self.steps = 0
        self.inner, self.model = model.paligemma_with_expert, model
        self.calls = {(self.inner, "embed_image"): self.embed_image,
                      (model, "embed_prefix"): self.embed_prefix,
                      (self.inner, "forward"): self.forward,
                      (model, "denoise_step"): self.denoise_step}
        self.originals = {name: getattr(owner, name) for owner, name in self.calls}

    @torch.no_grad()
    def run(self, inputs, args):
        self.tensors = dict(inputs)
        views = range(args.views)
        given = [[inputs[f"in.image.{v}"] for v in views],
                 [inputs[f"in.image_mask.{v}"] for v in views],
                 inputs["in.tokens"], inputs["in.token_mask"]]
        given += [inputs["in.state"]] if args.model == "pi0" else []
        guidance, said = guide(self.model, args) if args.rtc else ({}, {})
        self.tensors |= said
        for (owner, name), call in self.calls.items():
            setattr(owner, name, call)
        try:
            actions = self.model.sample_actions(*given, noise=inputs["in.noise"],
                                                num_steps=args.steps, **guidance)
        finally:
            for (owner, name) in self.calls:
                setattr(owner, name, self.originals[name])
        if not torch.isfinite(actions).all():
            raise SystemExit("the actions are not finite")
        self.tensors["actions"] = actions
        if args.rtc:
            for step in range(args.steps):
                self.tensors[f"step.{step}.next"] = self.tensors.get(f"step.{step + 1}.x", actions)
        return {k: v.detach().cpu().contiguous().clone() for k, v in self.tensors.items()}

    def embed_image(self, *a, **k):
        result = self.originals["embed_image"](*a, **k)
        self.tensors[f"vision.{self.images}"] = result
        self.images += 1
        return result

    def embed_prefix(self, *a, **k):
        result = self.originals["embed_prefix"](*a, **k)
        self.tensors["prefix.embs"], self.tensors["prefix.pad_mask"] = result[:2]
        return result

    def forward(self, *a, **k):
        result = self.originals["forward"](*a, **k)
        if k["inputs_embeds"][1] is None:
            self.tensors["prefix.out"] = result[0][0]
            for i, layer in enumerate(result[1].layers):
                self.tensors[f"kv.{i}.k"] = layer.keys.clone()
                self.tensors[f"kv.{i}.v"] = layer.values.clone()
            return result
        step = f"step.{self.steps}."
        self.tensors[step + "suffix_in"] = k["inputs_embeds"][1]
        self.tensors[step + "suffix_out"] = result[0][1]
        cond = (k.get("adarms_cond") or [None, None])[1]
        if cond is not None:
            self.tensors[step + "cond"] = cond
        return result

    def denoise_step(self, *a, **k):
        step = f"step.{self.steps}."
        self.tensors[step + "x"], self.tensors[step + "t"] = k["x_t"], k["timestep"]
        velocity = self.originals["denoise_step"](*a, **k)
        self.tensors[step + "v"] = velocity
        self.steps += 1
        return velocity


def write_reference(tensors, probed, args):
    import transformers
    name = "ref_" + args.ref if args.ref else "ref"
    files.save_file(tensors, os.path.join(args.out, name + ".safetensors"))
    said = {k: sorted(v) if isinstance(v, set) else v for k, v in vars(args).items()
            if k not in ("lerobot", "out", "load")}
    cuda = torch.device(args.device).type == "cuda"
    said |= {"transformers": transformers.__version__, "torch": torch.__version__,
             "device_name": torch.cuda.get_device_name() if cuda else "cpu", "probe": probed}
    files.write_json(args, name + ".json", said)


def main(argv=None):
    args = parse_args(argv)
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    torch.backends.cudnn.allow_tf32 = args.tf32
    modeling = load_modules(args)
    model = build_model(modeling, args)
    if args.load:
        load_weights(model, modeling, args)
    else:
        randomise(model, args)
    probed = probe(model, args)
    if args.probe or not args.out:
        log(json.dumps(probed, indent=1))
        return
    os.makedirs(args.out, exist_ok=True)
    tensors = Recorder(model).run(draw_inputs(args), args)
    write_reference(tensors, probed, args)
    actions = tensors["actions"]
    log(args.out, args.ref, "actions", tuple(actions.shape), "mean", float(actions.mean()),
        "std", float(actions.std()))
    if not args.no_weights:
        files.write_weights(model, args)
        write = files.write_openpi_files if args.layout == "openpi" else files.write_lerobot_files
        write(args)
    if args.orbax:
        from reference_orbax import write_orbax
        write_orbax(model, args)


if __name__ == "__main__":
    main()
