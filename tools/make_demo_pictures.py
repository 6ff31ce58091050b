#!/usr/bin/env python3
"""Writes examples/data/front.jpg and wrist.png: a table with objects and a gripper, from two views.

    python tools/make_demo_pictures.py

Needs Pillow and numpy. Both views look at one scene of spheres, boxes and capsules, which is
marched along each camera ray by its distance function, then lit by a lamp with soft shadows.
"""

import pathlib

import numpy as np
from PIL import Image

OUT = pathlib.Path(__file__).resolve().parent.parent / "examples" / "data"
LAMP = np.array([-0.35, -0.8, 1.5])

TABLE = [0.55, 0.38, 0.24]
WALL = [0.62, 0.66, 0.70]
METAL = [0.55, 0.57, 0.60]
PLASTIC = [0.09, 0.09, 0.10]
RED = [0.75, 0.10, 0.08]
BLUE = [0.08, 0.20, 0.60]
YELLOW = [0.85, 0.62, 0.07]
GREEN = [0.10, 0.45, 0.15]
WHITE = [0.80, 0.78, 0.74]


def length(v):
    return np.sqrt((v * v).sum(-1))


def dot(a, b):
    return (a * b).sum(-1)


def unit(v):
    return v / np.maximum(length(v), 1e-9)[..., None]


def sphere(p, centre, radius):
    return length(p - np.array(centre)) - radius


def box(p, centre, half, turn=0.0, rounding=0.004):
    cos, sin = np.cos(turn), np.sin(turn)
    q = (p - np.array(centre)) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    q = np.abs(q) - np.array(half) + rounding
    return length(np.maximum(q, 0)) + np.minimum(q.max(-1), 0) - rounding


def capsule(p, start, end, radius):
    axis = np.array(end) - np.array(start)
    q = p - np.array(start)
    along = np.clip(dot(q, axis) / dot(axis, axis), 0, 1)
    return length(q - along[..., None] * axis) - radius


def bowl(p, centre, radius):
    shell = np.abs(sphere(p, centre, radius)) - 0.006
    return np.maximum(shell, p[..., 2] - centre[2])


def parts(p):
    """Distance and colour of every thing; z is up, the table's top is z = 0, in metres."""
    return [
        (box(p, (0.1, 0, -0.03), (0.75, 0.6, 0.03)), TABLE),
        (1.15 - p[..., 0], WALL),
        (box(p, (0.05, -0.16, 0.035), (0.035, 0.035, 0.035), 0.5), RED),
        (box(p, (0.20, 0.13, 0.03), (0.05, 0.03, 0.03), -0.4), BLUE),
        (sphere(p, (-0.06, 0.16, 0.035), 0.035), YELLOW),
        (capsule(p, (0.32, -0.22, 0.04), (0.32, -0.22, 0.14), 0.04), GREEN),
        (bowl(p, (0.16, -0.02, 0.085), 0.085), WHITE),
        # The gripper comes down over the red block.
        (box(p, (0.05, -0.16, 0.22), (0.03, 0.075, 0.025), 0.5, 0.01), PLASTIC),
        (box(p, (0.077, -0.209, 0.14), (0.012, 0.008, 0.065), 0.5), METAL),
        (box(p, (0.023, -0.111, 0.14), (0.012, 0.008, 0.065), 0.5), METAL),
        (capsule(p, (0.05, -0.16, 0.25), (0.05, -0.16, 0.40), 0.035), METAL),
        (capsule(p, (0.05, -0.16, 0.42), (0.45, 0.35, 0.70), 0.05), WHITE),
    ]


def distance(p):
    return np.min([d for d, _ in parts(p)], axis=0)


def march(origin, ray, steps, limit):
    """How far each ray gets, and how close it passes by things on its way, as an angle."""
    shape = ray.shape[:-1]
    origin, ray = np.broadcast_to(origin, ray.shape).reshape(-1, 3), ray.reshape(-1, 3)
    travelled = np.full(len(ray), 0.002)
    narrowest = np.ones(len(ray))
    going = np.arange(len(ray))
    for _ in range(steps):
        d = distance(origin[going] + travelled[going, None] * ray[going])
        narrowest[going] = np.minimum(narrowest[going], 14 * np.maximum(d, 0) / travelled[going])
        travelled[going] = np.minimum(travelled[going] + d, limit)
        going = going[(d > 1e-4) & (travelled[going] < limit)]
    return travelled.reshape(shape), narrowest.reshape(shape)


def normal(p):
    step = 5e-4 * np.eye(3)
    return unit(np.stack([distance(p + e) - distance(p - e) for e in step], -1))


def colour(p):
    found = parts(p)
    nearest = np.argmin([d for d, _ in found], axis=0)
    paint = np.array([c for _, c in found])[nearest]
    grain = 1 + 0.10 * np.sin(90 * p[..., 1] + 4 * np.sin(7 * p[..., 0])) * np.sin(
        23 * p[..., 1] + 1
    )
    return np.where((nearest == 0)[..., None], paint * grain[..., None], paint)


def render(width, height, eye, target, up, field):
    eye = np.array(eye, float)
    forward = unit(np.array(target) - eye)
    right = unit(np.cross(forward, np.array(up, float)))
    above = np.cross(right, forward)
    y, x = np.mgrid[0:height, 0:width]
    x, y = (x - width / 2 + 0.5) / height * field, (height / 2 - y - 0.5) / height * field
    ray = unit(forward + x[..., None] * right + y[..., None] * above)
    travelled, _ = march(eye, ray, steps=250, limit=4.0)
    p = eye + travelled[..., None] * ray
    n = normal(p)
    to_lamp = LAMP - p
    lamp = unit(to_lamp)
    _, lit = march(p + 0.004 * n, lamp, steps=80, limit=1.5)
    occlusion = np.clip(distance(p + 0.05 * n) / 0.05, 0.25, 1)
    diffuse = np.clip(dot(n, lamp), 0, 1) * lit * 2.6 / dot(to_lamp, to_lamp)
    shine = np.clip(dot(n, unit(lamp - ray)), 0, 1) ** 40 * lit * 0.35
    sky = 0.28 * occlusion * (0.7 + 0.3 * n[..., 2])
    light = colour(p) * (
        diffuse[..., None] * [1.0, 0.95, 0.86] + sky[..., None] * [0.85, 0.93, 1.0]
    )
    light = (light + shine[..., None]) * (1 - 0.35 * (x * x + y * y) / field**2)[..., None]
    return np.clip(light / (0.25 + light) * 1.25, 0, 1) ** (1 / 1.6)


def develop(light, noise):
    grain = np.random.default_rng(1).normal(0, noise, light.shape)
    return Image.fromarray(np.clip(light * 255 + grain + 0.5, 0, 255).astype(np.uint8))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    front = render(640, 480, (-0.85, 0.25, 0.62), (0.10, -0.03, 0.08), (0, 0, 1), 0.85)
    develop(front, 2.0).save(OUT / "front.jpg", quality=88)
    wrist = render(480, 640, (-0.10, -0.20, 0.42), (0.10, -0.09, 0.03), (1, 0, 0), 1.5)
    develop(wrist, 0.8).quantize(256, dither=Image.Dither.NONE).save(
        OUT / "wrist.png", optimize=True
    )
    for name in ("front.jpg", "wrist.png"):
        print(f"{OUT / name}: {(OUT / name).stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
