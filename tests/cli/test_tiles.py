"""The command tiles."""

from pathlib import Path

import pytest

from conftest import fails, run, strict_json

HAS_GPU = Path("/dev/nvidiactl").exists()


def tiles(*arguments):
    return strict_json(run("tiles", *arguments, "--json").stdout)


@pytest.mark.parametrize("model, tokens", [("pi0", 48), ("pi05", 200)])
@pytest.mark.parametrize("precision, kind", [("bf16", "bf16"), ("fp8", "e4m3")])
def test_every_product_has_a_tile(model, tokens, precision, kind):
    table = tiles("--synthetic", model, "--precision", precision, "--multiprocessors", 132)
    assert table["model"] == model and table["precision"] == precision
    assert {row["views"] for row in table["rows"]} == {1, 2, 3}
    assert max(row["tokens"][1] for row in table["rows"]) == tokens
    for row in table["rows"]:
        best = min(row["tiles"], key=lambda tile: tile["estimated_us"])
        assert row["chosen"]["estimated_us"] == best["estimated_us"] > 1
        assert row["type"] == (kind if row["stage"] == "prefix" else "f16")
        assert row["chosen"]["row_tiles"] * row["chosen"]["rows"] >= row["m"]
        assert "us" not in row["chosen"] and "fastest" not in row


def test_a_table_is_printed():
    text = run("tiles", "--views", "2", "--tokens", "20", "--precision", "bf16",
               "--multiprocessors", 132).stdout
    assert "576 x 32768 x 2048" in text and "192x192 shared x" in text
    assert "pi05 in bf16, 132 multiprocessors" in text
    assert len(text.splitlines()) == 1 + 11 + 2


def test_tiles_of_a_checkpoint(checkpoints):
    table = tiles(checkpoints["pi0", "lerobot"], "--chunk", 100, "--views", 2, "--tokens", "1..48")
    assert {row["stage"] for row in table["rows"]} == {"vision", "expert"}  # 64 rows of the prefix
    assert {row["m"] for row in table["rows"] if row["stage"] == "expert"} == {101}


@pytest.mark.parametrize("arguments, sentence", [
    (["--views", "4"], "1 to 3 views, 4 are asked for"),
    (["--views", "one"], "--views"),
    (["--tokens", "5..1"], "5 to 1 are asked for"),
    (["--tokens", "1..201"], "1 to 201 are asked for"),
    (["--tokens", "1.."], "a range such as 1..200"),
    (["--precision", "f32"], "only products in bf16 and fp8 have tiles"),
    (["--precision", "auto"], "auto is decided by measuring"),
    (["--measure", "--device", "cpu"], "only measured on a GPU"),
    (["nowhere"], "nowhere"),
    (["nowhere", "--synthetic", "pi0"], "got both"),
])
def test_bad_usage(arguments, sentence):
    assert sentence in fails("tiles", *arguments)


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_measured_tiles_stand_beside_the_choice():
    table = tiles("--measure", "--views", "2", "--tokens", "20")
    assert table["gpu"]
    for row in table["rows"]:
        times = [tile["us"] for tile in row["tiles"]]
        assert min(times) > 0 and row["fastest"]["us"] == min(times)
