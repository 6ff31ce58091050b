"""What docs/lerobot.md shows runs, and the options that it names are there."""

import re
import shlex

import pytest
from conftest import ROOT

from lerobot_policy_saccade import SaccadeConfig
from lerobot_policy_saccade.server import main

PAGE = (ROOT / "docs" / "lerobot.md").read_text()


def test_snippets(checkpoint, tokenizer, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_policy").symlink_to(checkpoint)
    monkeypatch.setenv("SACCADE_TOKENIZER", str(tokenizer))
    monkeypatch.chdir(tmp_path)
    names = {}
    found = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(found) == 2
    for snippet in found:
        exec(compile(snippet, "docs/lerobot.md", "exec"), names)
    assert capsys.readouterr().out.endswith("torch.Size([1, 14]) torch.Size([1, 6, 14])\n")
    assert (tmp_path / "my_policy_saccade" / "policy_preprocessor.json").is_file()


def commands(start):
    lines = re.sub(r"\\\n", " ", PAGE).splitlines()
    found = [shlex.split(line) for line in lines if line.startswith("    " + start)]
    assert found
    return found


def test_options_of_commands(capsys):
    for words in commands("lerobot-"):
        options = {word.split("=")[0].removeprefix("--policy.") for word in words
                   if word.startswith("--policy.")}
        assert options - {"type"} <= set(SaccadeConfig.__dataclass_fields__), words
    with pytest.raises(SystemExit):
        main(["--help"])
    known = capsys.readouterr().out
    for words in commands("python -m lerobot_policy_saccade.server"):
        assert all(word in known for word in words if word.startswith("--")), words


def test_the_client_s_command_is_lerobots():
    from lerobot.async_inference.configs import RobotClientConfig

    (words,) = commands("python -m lerobot.async_inference.robot_client")
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--").split("=")[0].split(".")[0]
            assert name in RobotClientConfig.__dataclass_fields__, word
