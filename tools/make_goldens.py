#!/usr/bin/env python3
"""Regenerates what tests/golden holds from LeRobot's modules.

  python tools/make_goldens.py --lerobot <lerobot>/src                      # all, about 20 seconds
  python tools/make_goldens.py --lerobot <lerobot>/src --out /tmp/g pi0_small pi05_small

Weights, configurations and statistics come out with the same bytes every time. References may
differ in the last bits of float32 between machines; Orbax gives its files random names.
"""

import argparse
import logging
import os
import shutil

import lerobot_reference

SMALL = ("--vision-width 32 --vision-mlp 40 --width 48 --mlp 64 --expert-width 32 --expert-mlp 48"
         " --depth 2 --vocab 128 --chunk 5 --tokens-max 9 --steps 3 --drop-unused"
         " --state-dim 8 --action-dim 7")
LEAST = ("--vision-width 16 --vision-layers 1 --vision-mlp 24 --width 32 --mlp 40"
         " --expert-width 16 --expert-mlp 24 --depth 2 --head-dim 8 --vocab 64 --chunk 5"
         " --tokens-max 8 --lang-len 5 --steps 3 --state-dim 6 --action-dim 6")

# References that share the weights of one checkpoint: name and flags.
SHARED = {
    "views1": "--views 1 --seed 21", "views3": "--views 3 --seed 22",
    "mask_first": "--views 3 --mask-views 0 --seed 23",
    "mask_middle": "--views 3 --mask-views 1 --seed 24",
    "mask_last": "--views 3 --mask-views 2 --seed 25",
    "steps1": "--views 1 --steps 1 --seed 26", "steps7": "--views 1 --steps 7 --seed 27",
    "prompt1": "--views 1 --lang-len 1 --seed 28", "prompt_max": "--views 1 --lang-len 9 --seed 29",
    "batch2": "--views 1 --batch 2 --lang-len 3,8 --seed 30",
    "rtc": "--views 1 --steps 10 --rtc 4,2,10,LINEAR,10 --seed 31",
    "rtc_exp": "--views 1 --steps 7 --rtc 5,1,4,EXP,5 --batch 2 --seed 32"}

# Folder: the flags of its checkpoint and of ref.safetensors, and its other references.
GOLDENS = {
    "pi0_lerobot": ("--model pi0", {}),
    "pi05_lerobot": ("--model pi05 --views 3 --mask-last-view", {}),
    "pi0_orbax": ("--model pi0 --seed 1 --orbax", {}),
    "pi05_openpi_orbax": ("--model pi05 --seed 2 --openpi-keys --orbax", {}),
    "pi05_bf16": ("--model pi05 --views 3 --mask-last-view --dtype bfloat16 --no-weights"
                  " --load {out}/pi05_lerobot", {}),
    "variants/pi0_small": (f"--model pi0 --seed 3 {SMALL} --file-dtype bfloat16",
                           SHARED | {"bf16": "--dtype bfloat16 --seed 3"}),
    "variants/pi05_small": (f"--model pi05 --seed 4 {SMALL} --file-dtype bfloat16",
                            SHARED | {"bf16": "--dtype bfloat16 --seed 4"}),
    "variants/pi0_dims_openpi": (
        "--model pi0 --seed 5 --vision-width 64 --vision-layers 1 --vision-mlp 80 --width 96"
        " --mlp 80 --expert-width 48 --expert-mlp 56 --head-dim 32 --depth 1 --vocab 64 --chunk 1"
        " --steps 3 --views 1 --drop-unused --file-dtype bfloat16 --key-style openpi"
        " --layout openpi --state-dim 14 --action-dim 14", {}),
    "variants/pi05_dims_f16": (
        "--model pi05 --seed 6 --vision-width 40 --vision-layers 3 --vision-mlp 48 --width 56"
        " --mlp 72 --expert-width 72 --expert-mlp 56 --head-dim 8 --depth 2 --vocab 64 --chunk 5"
        " --image-size 42 --steps 3 --views 1 --drop-unused --file-dtype float16"
        " --key-style no-vision-model --max-state-dim 20 --max-action-dim 24", {}),
    "variants/pi05_sharded": (f"--model pi05 --seed 7 {LEAST} --shards 3 --embed both"
                              " --file-dtype mixed", {}),
    "variants/pi0_embed_both": (f"--model pi0 --seed 8 {LEAST} --embed both --drop-unused"
                                " --key-style no-vision-model --file-dtype bfloat16", {}),
    "variants/pi05_embed_tokens": (f"--model pi05 --seed 9 {LEAST} --embed tokens --no-grid", {}),
    "variants/pi0_legacy": (f"--model pi0 --seed 10 {LEAST} --key-style legacy"
                            " --file-dtype bfloat16", {}),
    "variants/pi0_time_mlp": (f"--model pi0 --seed 11 {LEAST} --key-style openpi"
                              " --swap-time-mlp --file-dtype bfloat16", {}),
    "variants/pi05_orbax_train": (
        f"--model pi05 --seed 12 {LEAST} --key-style openpi --layout openpi --swap-time-mlp"
        " --file-dtype bfloat16 --orbax --orbax-value --orbax-chunks 4", {}),
}


def make(lerobot, root, folder, flags, references):
    out = os.path.join(root, folder)
    shutil.rmtree(out, ignore_errors=True)
    common = ["--lerobot", lerobot, "--out", out, *flags.format(out=root).split()]
    lerobot_reference.main(common)
    for name, extra in references.items():
        lerobot_reference.main([*common, "--load", out, "--no-weights", "--ref", name,
                                *extra.split()])


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--lerobot", required=True, help="the src/ directory that contains lerobot/")
    ap.add_argument("--out", default=os.path.join(here, "..", "tests", "golden"))
    ap.add_argument("only", nargs="*", help="folders, by their last name; all when none is given")
    args = ap.parse_args()
    unknown = set(args.only) - {os.path.basename(folder) for folder in GOLDENS}
    if unknown:
        ap.error(f"no such folder: {', '.join(sorted(unknown))}")
    logging.disable(logging.WARNING)  # LeRobot warns about each patch embedding that it loads
    for folder, (flags, references) in GOLDENS.items():
        if not args.only or os.path.basename(folder) in args.only:
            make(args.lerobot, args.out, folder, flags, references)


if __name__ == "__main__":
    main()
