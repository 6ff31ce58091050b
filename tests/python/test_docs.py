"""Every snippet of docs/python.md and docs/c_api.md runs, and so does the plotting example."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import saccade
from saccade._library import library

ROOT = Path(__file__).resolve().parents[2]


def snippets(page, language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / page).read_text(),
                       re.DOTALL | re.MULTILINE)
    assert found, f"docs/{page} has no snippet in {language}"
    return found


@pytest.fixture
def folder(checkpoint, tokenizer, tmp_path, monkeypatch):
    """Where my_policy and its tokenizer are, as the documentation's reader has them."""
    (tmp_path / "my_policy").symlink_to(checkpoint)
    monkeypatch.setenv("SACCADE_TOKENIZER", str(tokenizer))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_page(folder, capsys):
    names = {}
    for snippet in snippets("python.md", "python"):
        exec(compile(snippet, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("(6, 14)")
    assert float(printed[2]) < 0.2  # where actions are of order one
    assert printed[3].startswith("[infer] the policy has no camera 'rear', only ")
    assert printed[4].startswith("3 ")


def test_c_page(folder):
    directory = Path(library()._name).parent
    if shutil.which("cc") is None or not (directory / "libsaccade.so.1").exists():
        pytest.skip("needs a C compiler and a built library with its soname")
    if "LD_PRELOAD" in os.environ:
        pytest.skip("a program without sanitizers cannot link a library with them")
    for number, snippet in enumerate(snippets("c_api.md", "c")):
        source = folder / f"snippet{number}.c"
        source.write_text(snippet)
        program = folder / f"snippet{number}"
        subprocess.run(["cc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                        f"-I{ROOT / 'include'}", source, "-o", program, f"-L{directory}",
                        "-lsaccade", f"-Wl,-rpath,{directory}"], check=True)
        done = subprocess.run([program], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        assert done.stdout == "6 actions of 14 values\n"


def test_plotting_example(checkpoint, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "chunk.png"
    package = str(Path(saccade.__file__).parents[1])
    subprocess.run([sys.executable, ROOT / "examples" / "plot_chunk.py", checkpoint, picture],
                   check=True, env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": package})
    assert picture.read_bytes().startswith(b"\x89PNG")
