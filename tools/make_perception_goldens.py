#!/usr/bin/env python3
"""Writes tests/golden/perception/: what PIL, PyTorch, NumPy and SentencePiece make of known inputs.

    python tools/make_perception_goldens.py

Needs Pillow, numpy, torch and sentencepiece. The references are openpi's image_tools.py and
tokenizer.py and LeRobot's resize_with_pad_torch and pi0/pi05 processors, in a few lines each.
Files:

    tiny_tokenizer.model  512 pieces with PaliGemma's settings, for tiny checkpoints;
                          also copied to examples/data/
    prompts.json          [{form, prompt, state, max_tokens, text, tokens, full_length}]
    bins.json             [[normalised state, bin]]
    images.json           {file: {width, height, crc32 of the RGB bytes} or {error: words of it}}
    resize.txt            kind seed height width size crc32(frame) crc32(8-bit result) stride
    resize_bilinear.f32   every stride-th value of each bilinear result, one after the other
"""

import io
import json
import pathlib
import random
import shutil
import struct
import zlib

import numpy as np
import sentencepiece
import torch
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "perception"


# ------------------------------------------------------------------------------------- tokenizer


def corpus():
    rng = random.Random(7)
    verbs = ["pick up", "place", "push", "open", "close", "stack", "fold", "wipe", "move", "grasp"]
    colours = ["red", "green", "blue", "yellow", "black", "white"]
    things = ["block", "cup", "bowl", "drawer", "towel", "plate", "bottle", "lid", "cube", "spoon"]
    places = ["on the table", "in the basket", "to the left", "next to the stove", "into the box"]
    lines = []
    for _ in range(4000):
        text = f"{rng.choice(verbs)} the {rng.choice(colours)} {rng.choice(things)}"
        if rng.random() < 0.7:
            text += f" and put it {rng.choice(places)}"
        if rng.random() < 0.5:
            bins = " ".join(str(rng.randint(-1, 255)) for _ in range(rng.randint(6, 14)))
            text = f"Task: {text}, State: {bins};"
            lines.append("Action: ")
        lines.append(text)
    return lines


def train_tokenizer():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=model,
        model_type="bpe",
        vocab_size=512,
        byte_fallback=True,
        split_digits=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["\n"],
        num_threads=1,
        minloglevel=2,
    )
    (OUT / "tiny_tokenizer.model").write_bytes(model.getvalue())
    (ROOT / "examples" / "data").mkdir(parents=True, exist_ok=True)
    shutil.copy(OUT / "tiny_tokenizer.model", ROOT / "examples" / "data" / "tiny_tokenizer.model")


# --------------------------------------------------------------------------------------- prompts


def bins_of(state):
    return np.digitize(np.asarray(state, np.float64), np.linspace(-1, 1, 257)[:-1]) - 1


def prompt_golden(processor, form, prompt, state, max_tokens):
    clean = prompt.strip().replace("_", " ").replace("\n", " ")
    if form == "openpi_pi0":
        text = clean
        tokens = processor.encode(text, add_bos=True) + processor.encode("\n")
    elif form == "lerobot_pi0":
        text = prompt if prompt.endswith("\n") else prompt + "\n"
        tokens = processor.encode(text, add_bos=True)
    else:
        text = f"Task: {clean}, State: {' '.join(map(str, bins_of(state)))};\nAction: "
        tokens = processor.encode(text, add_bos=True)
    return {
        "form": form,
        "prompt": prompt,
        "state": list(state),
        "max_tokens": max_tokens,
        "text": text,
        "tokens": tokens[:max_tokens],
        "full_length": len(tokens),
    }


def write_prompts():
    processor = sentencepiece.SentencePieceProcessor(model_file=str(OUT / "tiny_tokenizer.model"))
    prompts = [
        "pick up the red block",
        "",
        " \t\n",
        "  pick_up_the_cup\n",
        "open the drawer\nand close it",
        "open the drawer\n\n",
        "_fold  the   towel_",
        "Größe 42 — 把红色方块拿起来 🤖",
        "\u3000\u2003move\u00a0the cube\u0085\x1c\x1f",
        "\u200bnot a space to Python\ufeff",
        "<bos> push <eos> the <unk> lid",
        "\x00nul\x00",
        "Task: pick up, State: 1 2 3;\nAction: ",
        "place the bowl on the table " * 12,
    ]
    states = [[], [0.0], [-1.0, 1.0, -1.5, 1.5, 0.25, -1e-20, 1e-20, float(np.float32(0.1))]]
    goldens = []
    for prompt in prompts:
        for form, limit in (("openpi_pi0", 48), ("lerobot_pi0", 48), ("state_in_text", 200)):
            for state in states if form == "state_in_text" else [[]]:
                goldens.append(prompt_golden(processor, form, prompt, state, limit))
    for limit in (1, 2, 8, 9):
        for form in ("openpi_pi0", "lerobot_pi0", "state_in_text"):
            goldens.append(prompt_golden(processor, form, prompts[0], states[1], limit))
    (OUT / "prompts.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n")


def write_bins():
    values = [-1e300, -2.0, 2.0, 1e300, -5e-324, 5e-324, -0.0]
    for edge in np.linspace(-1, 1, 257):
        values += [np.nextafter(edge, -9), edge, np.nextafter(edge, 9)]
    pairs = [[float(v), int(b)] for v, b in zip(values, bins_of(values))]
    (OUT / "bins.json").write_text(json.dumps(pairs, separators=(",", ":")) + "\n")


# ---------------------------------------------------------------------------------------- images


def scene(height, width):
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(3).integers(-12, 12, (height, width, 3))
    base = np.stack([x * 255 // width, y * 255 // height, 128 + 100 * np.sin(x * y / 40)], -1)
    base[(x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2] = [220, 40, 60]
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(header, data, *more):
    """header: width, height, bits, colour type, interlace."""
    width, height, bits, colour, interlace = header
    ihdr = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    body = b"".join(chunk(kind, content) for kind, content in more)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", ihdr)
        + body
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def rows(pixels):
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced(pixels):
    starts = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    passes = [pixels[y::dy, x::dx] for y, x, dy, dx in starts]
    return b"".join(rows(p) for p in passes if p.size)


def write_good_images():
    frame = scene(45, 67)
    picture = Image.fromarray(frame)
    jpegs = {
        "baseline_420.jpg": {"quality": 85, "subsampling": 2},
        "baseline_422.jpg": {"quality": 60, "subsampling": 1},
        "baseline_444.jpg": {"quality": 95, "subsampling": 0},
        "progressive.jpg": {"quality": 75, "progressive": True},
        "rgb.jpg": {"quality": 90, "keep_rgb": True},
        "restarts.jpg": {"quality": 70, "restart_marker_rows": 1},
    }
    for name, options in jpegs.items():
        picture.save(OUT / name, **options)
    picture.save(OUT / "rgb.png")
    picture.quantize(200).save(OUT / "palette.png")
    picture.quantize(5).save(OUT / "palette_4_bits.png", bits=4)
    height, width, _ = frame.shape
    profile = (b"gAMA", struct.pack(">I", 100000))
    (OUT / "interlaced.png").write_bytes(
        png_bytes((width, height, 8, 2, 1), interlaced(frame), profile)
    )
    Image.fromarray(frame[:1, :1]).save(OUT / "one_pixel.png")
    names = [
        *jpegs,
        "rgb.png",
        "palette.png",
        "palette_4_bits.png",
        "interlaced.png",
        "one_pixel.png",
    ]
    goldens = {}
    for name in names:
        pixels = np.asarray(Image.open(OUT / name).convert("RGB"))
        goldens[name] = {
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "crc32": zlib.crc32(pixels.tobytes()),
        }
    return goldens


def bad_images():
    frame = scene(9, 13)
    picture = Image.fromarray(frame)

    def saved(image, name, **options):
        image.save(OUT / name, **options)
        return (OUT / name).read_bytes()

    jpeg = (OUT / "baseline_420.jpg").read_bytes()
    progressive = (OUT / "progressive.jpg").read_bytes()
    png = (OUT / "rgb.png").read_bytes()
    header = (13, 9, 8, 2, 0)
    broken = bytearray(png)
    broken[60] ^= 0x10
    zero_jpeg = bytearray(jpeg)
    start_of_frame = jpeg.index(b"\xff\xc0")
    zero_jpeg[start_of_frame + 7 : start_of_frame + 9] = b"\0\0"
    deep = np.asarray(frame, ">u2") * 257
    palette = (b"PLTE", bytes(range(9)))
    beyond = np.full((9, 13), 7, np.uint8)
    return {
        "grey.jpg": (saved(picture.convert("L"), "grey.jpg"), "is greyscale"),
        "cmyk.jpg": (saved(picture.convert("CMYK"), "cmyk.jpg"), "is CMYK"),
        "truncated.jpg": (jpeg[: len(jpeg) * 2 // 3], "truncated"),
        "truncated_progressive.jpg": (progressive[: len(progressive) * 2 // 3], "truncated"),
        "no_end.jpg": (jpeg[:-2], "truncated"),
        "header_only.jpg": (jpeg[:20], "truncated"),
        "zero_width.jpg": (bytes(zero_jpeg), "corrupt"),
        "grey.png": (saved(picture.convert("L"), "grey.png"), "is greyscale"),
        "grey_16.png": (png_bytes((13, 9, 16, 0, 0), rows(deep[..., 0])), "is greyscale"),
        "rgb_16.png": (png_bytes((13, 9, 16, 2, 0), rows(deep)), "has 16 bits per component"),
        "rgba.png": (saved(picture.convert("RGBA"), "rgba.png"), "has alpha"),
        "grey_alpha.png": (saved(picture.convert("LA"), "grey_alpha.png"), "has alpha"),
        "colour_key.png": (
            png_bytes(header, rows(frame), (b"tRNS", b"\0\1\0\2\0\3")),
            "has transparent pixels",
        ),
        "palette_alpha.png": (
            png_bytes((13, 9, 8, 3, 0), rows(beyond * 0), palette, (b"tRNS", b"\x80")),
            "has transparent pixels",
        ),
        "palette_beyond.png": (
            png_bytes((13, 9, 8, 3, 0), rows(beyond), palette),
            "beyond the palette",
        ),
        "truncated.png": (png[: len(png) // 2], "truncated"),
        "no_end.png": (png[:-12], "truncated"),
        "broken.png": (bytes(broken), "corrupt"),
        "few_rows.png": (png_bytes(header, rows(frame[:4])), "corrupt"),
        "zero_width.png": (png_bytes((0, 9, 8, 2, 0), b""), "corrupt"),
        "wide.png": (png_bytes((20000, 1, 8, 2, 0), b""), "above the limits"),
        "bomb.png": (png_bytes((16384, 16384, 8, 2, 0), b""), "above the limits"),
        "empty.png": (b"", "is empty"),
        "text.jpg": (b"GIF89a, or so it says", "is neither a JPEG nor a PNG"),
        "two_bytes.jpg": (b"\xff\xd8", "is neither a JPEG nor a PNG"),
    }


def write_images():
    goldens = write_good_images()
    for name, (content, error) in bad_images().items():
        (OUT / name).write_bytes(content)
        goldens[name] = {"error": error}
    (OUT / "images.json").write_text(json.dumps(goldens, indent=1) + "\n")


# ---------------------------------------------------------------------------------------- resize


def make_frame(kind, seed, height, width):
    """The same integers as tests/ops/resize_test.cc makes."""
    index = np.arange(height * width * 3, dtype=np.uint32)
    if kind == "noise":
        value = (index + np.uint32(seed)) * np.uint32(2654435761)
        value = (value ^ (value >> np.uint32(15))) * np.uint32(2246822519)
        value = (value ^ (value >> np.uint32(13))) >> np.uint32(24)
    elif kind == "gradient":
        value = index * np.uint32(255) // np.uint32(height * width * 3)
    else:
        pixel = index // np.uint32(3)
        value = (
            (pixel % np.uint32(width) + pixel // np.uint32(width)) % np.uint32(2) * np.uint32(255)
        )
    return value.astype(np.uint8).reshape(height, width, 3)


def extents(height, width, size):
    ratio = max(width / size, height / size)
    return int(height / ratio), int(width / ratio)


def resize_antialias(frame, size):
    height, width, _ = frame.shape
    if (height, width) == (size, size):
        return frame
    high, wide = extents(height, width, size)
    padded = Image.new("RGB", (size, size), 0)
    # Two calls fix the order of the two passes, which Pillow 13 turns round for tall pictures.
    resized = Image.fromarray(frame).resize((wide, height), resample=Image.BILINEAR)
    resized = resized.resize((wide, high), resample=Image.BILINEAR)
    padded.paste(resized, ((size - wide) // 2, (size - high) // 2))
    return np.asarray(padded)


def resize_bilinear(frame, size):
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].to(torch.float32) / 255
    height, width, _ = frame.shape
    if (height, width) != (size, size):
        high, wide = extents(height, width, size)
        pixels = torch.nn.functional.interpolate(
            pixels, size=(high, wide), mode="bilinear", align_corners=False
        ).clamp(0, 1)
        top, left = (size - high) // 2, (size - wide) // 2
        pixels = torch.nn.functional.pad(pixels, (left, size - wide - left, top, size - high - top))
    return (pixels * 2 - 1)[0].numpy()


RESIZE_CASES = [
    ("noise", 1, 480, 640, 28),
    ("noise", 2, 640, 480, 56),
    ("checker", 0, 480, 640, 56),
    ("gradient", 0, 1080, 1920, 56),
    ("noise", 3, 53, 37, 28),  # odd padding
    ("noise", 4, 37, 53, 224),  # upscaled
    ("checker", 0, 37, 53, 28),
    ("noise", 5, 28, 28, 28),  # untouched
    ("noise", 6, 224, 224, 224),
    ("noise", 7, 480, 640, 224),
    ("noise", 8, 1, 1, 28),
    ("noise", 9, 1, 20, 28),
    ("noise", 10, 28, 1, 28),
    ("noise", 11, 28, 27, 28),  # one pass changes nothing
    ("noise", 12, 2, 3, 56),
    ("noise", 13, 500, 19, 28),  # one column is left
    ("noise", 14, 27, 29, 28),
    ("noise", 15, 14, 3000, 224),
    ("noise", 16, 720, 1280, 28),
    ("noise", 17, 53, 31, 49),  # int(53 / (53 / 49)) is 48
    ("noise", 18, 5, 9, 224),  # int(9 / (9 / 224)) is 223
]


def write_resize():
    lines, floats = [], []
    for kind, seed, height, width, size in RESIZE_CASES:
        frame = make_frame(kind, seed, height, width)
        result = resize_antialias(frame, size)
        stride = 1 if size <= 28 else 7 if size <= 56 else 101
        floats.append(resize_bilinear(frame, size).ravel()[::stride])
        crcs = f"{zlib.crc32(frame.tobytes())} {zlib.crc32(result.tobytes())}"
        lines.append(f"{kind} {seed} {height} {width} {size} {crcs} {stride}")
    (OUT / "resize.txt").write_text("\n".join(lines) + "\n")
    (OUT / "resize_bilinear.f32").write_bytes(np.concatenate(floats).astype("<f4").tobytes())


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    train_tokenizer()
    write_prompts()
    write_bins()
    write_images()
    write_resize()
    total = sum(path.stat().st_size for path in OUT.iterdir())
    print(f"{OUT}: {total / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
