"""Writes a checkpoint of lerobot_reference.py as an Orbax tree, as openpi's JAX code does."""

import os

import torch

from reference_files import EXPERT, PALIGEMMA, TOKENS

PROJECTIONS = ("action_in_proj", "action_out_proj", "state_proj", "action_time_mlp_in",
               "action_time_mlp_out", "time_mlp_in", "time_mlp_out")


def vision_tree(state, args):
    tower = PALIGEMMA + "model.vision_tower."
    heads, layers = args.vision_heads, range(args.vision_layers)

    def stack(name, convert=lambda t: t):
        return torch.stack([convert(state[f"{tower}encoder.layers.{i}.{name}"]) for i in layers])

    def split_in(name):
        return {"kernel": stack(f"self_attn.{name}_proj.weight",
                                lambda w: w.T.reshape(w.shape[1], heads, -1)),
                "bias": stack(f"self_attn.{name}_proj.bias", lambda b: b.reshape(heads, -1))}

    def norm(name):
        return {"scale": stack(name + ".weight"), "bias": stack(name + ".bias")}

    def dense(name):
        return {"kernel": stack(f"mlp.{name}.weight", lambda w: w.T),
                "bias": stack(f"mlp.{name}.bias")}

    out = {"kernel": stack("self_attn.out_proj.weight",
                           lambda w: w.T.reshape(heads, -1, w.shape[0])),
           "bias": stack("self_attn.out_proj.bias")}
    block = {"LayerNorm_0": norm("layer_norm1"), "LayerNorm_1": norm("layer_norm2"),
             "MlpBlock_0": {"Dense_0": dense("fc1"), "Dense_1": dense("fc2")},
             "MultiHeadDotProductAttention_0": {
                 "query": split_in("q"), "key": split_in("k"), "value": split_in("v"),
                 "out": out}}
    patch = tower + "embeddings.patch_embedding."
    projector = PALIGEMMA + "model.multi_modal_projector.linear."
    return {"embedding": {"kernel": state[patch + "weight"].permute(2, 3, 1, 0),
                          "bias": state[patch + "bias"]},
            "pos_embedding": state[tower + "embeddings.position_embedding.weight"][None],
            "Transformer": {"encoderblock": block,
                            "encoder_norm": {"scale": state[tower + "post_layernorm.weight"],
                                             "bias": state[tower + "post_layernorm.bias"]}},
            "head": {"kernel": state[projector + "weight"].T, "bias": state[projector + "bias"]}}


def gemma_tree(state, prefix, suffix, ada, args):
    """The attention leaves, the other leaves of the layers, and the final norm of one tower."""
    def stack(name, convert=lambda t: t):
        return torch.stack([convert(state[f"{prefix}layers.{i}.{name}.weight"])
                            for i in range(args.depth)])

    def pair(first, second):
        return torch.stack([stack(first, lambda w: w.T), stack(second, lambda w: w.T)], dim=1)

    def norm(name):
        if not ada:
            return {"scale": stack(name)}
        bias = [state[f"{prefix}layers.{i}.{name}.dense.bias"] for i in range(args.depth)]
        return {"Dense_0": {"kernel": stack(name + ".dense", lambda w: w.T),
                            "bias": torch.stack(bias)}}

    dim = args.head_dim
    attention = {
        "q_einsum" + suffix: {"w": stack("self_attn.q_proj",
                                         lambda w: w.reshape(8, dim, -1).permute(0, 2, 1))},
        "kv_einsum" + suffix: {"w": pair("self_attn.k_proj", "self_attn.v_proj")[:, :, None]},
        "attn_vec_einsum" + suffix: {"w": stack("self_attn.o_proj",
                                                lambda w: w.T.reshape(8, dim, -1))}}
    rest = {"mlp" + suffix: {"gating_einsum": pair("mlp.gate_proj", "mlp.up_proj"),
                             "linear": stack("mlp.down_proj", lambda w: w.T)},
            "pre_attention_norm" + suffix: norm("input_layernorm"),
            "pre_ffw_norm" + suffix: norm("post_attention_layernorm")}
    if ada:
        final = {"Dense_0": {"kernel": state[prefix + "norm.dense.weight"].T,
                             "bias": state[prefix + "norm.dense.bias"]}}
    else:
        final = {"scale": state[prefix + "norm.weight"]}
    return attention, rest, final


def orbax_tree(model, args):
    state = {k.replace(".vision_tower.vision_model.", ".vision_tower."): v.detach().float().cpu()
             for k, v in model.state_dict().items()}
    attn, rest, final = gemma_tree(state, PALIGEMMA + "model.language_model.", "", False, args)
    attn_1, rest_1, final_1 = gemma_tree(state, EXPERT + "model.", "_1", args.model == "pi05",
                                         args)
    language = {"embedder": {"input_embedding": state[TOKENS]},
                "layers": {"attn": attn | attn_1, **rest, **rest_1},
                "final_norm": final, "final_norm_1": final_1}
    tree = {"PaliGemma": {"img": vision_tree(state, args), "llm": language}}
    for name in PROJECTIONS:
        if name + ".weight" in state:
            tree[name] = {"kernel": state[name + ".weight"].T, "bias": state[name + ".bias"]}
    return tree


def to_leaf(tensor, args):
    """A NumPy array, or a JAX array that lies on several devices and so in several chunks."""
    import ml_dtypes
    array = tensor.contiguous().numpy()
    if args.file_dtype in ("bfloat16", "mixed"):
        array = array.astype(ml_dtypes.bfloat16)
    if args.orbax_chunks == 1:
        return array
    import jax
    mesh = jax.sharding.Mesh(jax.devices()[:args.orbax_chunks], "d")
    even = [i for i, n in enumerate(array.shape) if n % args.orbax_chunks == 0]
    axes = [None] * array.ndim
    if even:
        axes[even[-1]] = "d"
    spec = jax.sharding.PartitionSpec(*axes)
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))


def write_orbax(model, args):
    os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import orbax.checkpoint as ocp

    def convert(node):
        if isinstance(node, dict):
            return {k: convert(v) for k, v in node.items()}
        leaf = to_leaf(node, args)
        return {"value": leaf} if args.orbax_value else leaf

    path = os.path.abspath(os.path.join(args.out, "orbax", "params"))
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(path, {"params": convert(orbax_tree(model, args))}, force=True)
