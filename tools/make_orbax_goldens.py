"""Writes the tiny Orbax checkpoints of tests/golden/orbax_*.

Each holds a few arrays of openpi's JAX model. Element i (row-major) of the array with number n is
(7 * i + 13 * n) % 251 - 125: an integer that float32, bfloat16 and float16 represent exactly, so
that the test computes what it expects.

    python tools/make_orbax_goldens.py [--fuzz-corpus DIRECTORY]

Needs orbax-checkpoint, jax and tensorstore.
"""

import argparse
import os
import pathlib
import shutil
import struct

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"

# Leaf, shape, and the axis that 4 devices share when the checkpoint is sharded.
LEAVES = [
    ("PaliGemma/llm/embedder/input_embedding", (12, 6), 0),
    ("PaliGemma/llm/layers/attn/q_einsum/w", (3, 4, 8, 6), 2),
    ("PaliGemma/llm/layers/attn/kv_einsum_1/w", (3, 2, 1, 8, 6), 3),
    ("PaliGemma/llm/layers/mlp/gating_einsum", (3, 2, 8, 12), 3),
    ("PaliGemma/llm/layers/mlp/linear_lora_a", (3, 12, 2), None),
    ("PaliGemma/img/pos_embedding", (1, 4, 10), None),
    ("PaliGemma/img/embedding/kernel", (2, 2, 3, 8), 3),
    ("action_in_proj/kernel", (5, 8), 1),
    ("action_in_proj/bias", (8,), None),
]


def elements(number, shape, dtype):
    flat = (7 * np.arange(np.prod(shape)) + 13 * number) % 251 - 125
    return flat.reshape(shape).astype(dtype)


def fresh(name):
    directory = GOLDEN / name
    shutil.rmtree(directory, ignore_errors=True)
    return directory


def save_with_orbax(name, dtype, *, value=False, sharded=False, **options):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("device",))
    tree = {}
    for number, (leaf, shape, axis) in enumerate(LEAVES):
        spec = [None] * len(shape)
        if sharded and axis is not None:
            spec[axis] = "device"
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        node = tree
        path = leaf.split("/") + (["value"] if value else [])
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = jax.device_put(elements(number, shape, dtype), sharding)
    directory = fresh(name)
    handler = ocp.PyTreeCheckpointHandler(**options)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(directory, {"params": tree})
    for extra in ("_sharding", "array_metadatas", "_CHECKPOINT_METADATA", "commit_success.txt"):
        path = directory / extra
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def save_with_tensorstore(name, dtype, chunks_of, config):
    """Chunks that do not divide the array, and an OCDBT tree with the given configuration."""
    context = ts.Context()
    for number, (leaf, shape, _) in enumerate(LEAVES):
        path = "params." + leaf.replace("/", ".") + "/"
        spec = {
            "driver": "zarr",
            "kvstore": {"driver": "memory", "path": path},
            "metadata": {"chunks": chunks_of(shape), "compressor": {"id": "zstd"}},
            "store_data_equal_to_fill_value": True,
        }
        array = ts.open(spec, create=True, dtype=dtype, shape=shape, context=context).result()
        array[...].write(elements(number, shape, dtype)).result()
    memory = ts.KvStore.open({"driver": "memory"}, context=context).result()
    spec = {"driver": "ocdbt", "base": f"file://{fresh(name)}/", "config": config}
    database = ts.KvStore.open(spec).result()
    with ts.Transaction() as transaction:
        for key in memory.list().result():
            database.with_transaction(transaction)[key] = memory[key]


def uneven(shape):
    """Neither axis of the grid divides: 2 of 3 layers, 5 of 8 rows, 4 of 6 columns."""
    return [min(extent, (extent * 5 + 7) // 8) for extent in shape]


def write_goldens():
    save_with_orbax("orbax_sharded_bf16", ml_dtypes.bfloat16, sharded=True, value=True)
    save_with_orbax("orbax_directories", np.float32, use_ocdbt=False)
    save_with_orbax("orbax_zarr3", np.float32, use_ocdbt=True, use_zarr3=True)
    for path in (GOLDEN / "orbax_zarr3").iterdir():  # the flag alone decides
        if path.name != "_METADATA":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Nodes of 300 bytes make a tree of several levels; inline values are off.
    deep = {"max_decoded_node_bytes": 300, "max_inline_value_bytes": 0, "compression": None}
    save_with_tensorstore("orbax_deep_tree", np.float32, uneven, deep)
    inline = {"max_inline_value_bytes": 1024, "compression": {"id": "zstd"}}
    save_with_tensorstore("orbax_inline_f16", np.float16, uneven, inline)


def write_fuzz_corpus(directory):
    """Inputs of tests/fuzz/orbax_fuzz.cc: a mode byte, the length of a first part, both parts."""
    directory.mkdir(parents=True, exist_ok=True)

    def write(name, mode, first, second):
        (directory / name).write_bytes(struct.pack("<BH", mode, len(first)) + first + second)

    for golden in ("orbax_deep_tree", "orbax_inline_f16", "orbax_sharded_bf16"):
        manifest = (GOLDEN / golden / "manifest.ocdbt").read_bytes()
        for data in (GOLDEN / golden).glob("**/d/*"):
            write(f"{golden}_{data.name[:8]}", 0, manifest, data.read_bytes())
    for compressor in ({"id": "zstd"}, None):
        context = ts.Context()
        spec = {
            "driver": "zarr",
            "kvstore": {"driver": "memory"},
            "metadata": {"chunks": [2, 2, 1, 3, 2], "compressor": compressor},
        }
        shape = (3, 2, 1, 4, 4)
        array = ts.open(spec, create=True, dtype=np.float32, shape=shape, context=context).result()
        array[...].write(elements(0, shape, np.float32)).result()
        memory = ts.KvStore.open({"driver": "memory"}, context=context).result()
        name = "array_zstd" if compressor else "array_plain"
        write(name, 1, memory[".zarray"], memory["0.0.0.0.0"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fuzz-corpus", type=pathlib.Path, help="write seeds for orbax_fuzz here")
    arguments = parser.parse_args()
    if arguments.fuzz_corpus:
        write_fuzz_corpus(arguments.fuzz_corpus)
    else:
        write_goldens()
