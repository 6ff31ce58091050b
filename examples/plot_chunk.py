#!/usr/bin/env python3
"""Loads a policy, asks it for one chunk of actions and plots them.

    plot_chunk.py CHECKPOINT [PICTURE_FILE]      a PNG, an SVG or a PDF; else a window

Editors that know `# %%` run it cell by cell, as a notebook. The pictures are random: a robot would
pass what its cameras wrote.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import saccade

# %% Load the policy. What it expects stands in its info.
checkpoint = sys.argv[1]
policy = saccade.load(checkpoint)
info = policy.info
print(policy)
print("cameras:", ", ".join(info.cameras))

# %% Look, and act: images are uint8 [height, width, 3], the state is in physical units.
random = np.random.default_rng(0)
images = {camera: random.integers(0, 256, (480, 640, 3), np.uint8) for camera in info.cameras}
state = np.zeros(info.state_dim or info.max_state_dim)
chunk = policy.infer(images, state, tokens=[2, 17, 5])  # or prompt="...", which needs a tokenizer
print({stage: f"{ms:.2f} ms" for stage, ms in chunk.times.items()})

# %% Plot each action dimension over the chunk. Two seeds show how sure the policy is.
other = policy.infer(images, state, tokens=[2, 17, 5], seed=1)
names = info.action_names or [f"action {i}" for i in range(info.action_dim)]
figure, axes = plt.subplots(len(names), sharex=True, figsize=(7, 1.2 * len(names)),
                            layout="constrained")
for i, axis in enumerate(np.atleast_1d(axes)):
    axis.plot(chunk.actions[:, i], label="seed 0")
    axis.plot(other.actions[:, i], label="seed 1", linestyle="dotted")
    axis.set_ylabel(names[i], rotation=0, ha="right")
np.atleast_1d(axes)[0].legend(loc="upper right")
np.atleast_1d(axes)[-1].set_xlabel("action")
figure.suptitle(f"{info.model}, {info.steps} steps, {info.precision} on {info.device}")

# %%
if len(sys.argv) > 2:
    figure.savefig(sys.argv[2])
else:
    plt.show()
