"""The policy as LeRobot's factory makes it and as its loops call it, against the engine alone."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import BINARY
from lerobot_robot_fake import FakeEnvConfig, frames

import saccade


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def seen(random):
    """Frames and a state of a robot."""
    return frames(random), random.uniform(-1, 1, 14).astype(np.float32)


def as_lerobot(images, state, task="pick up the cup"):
    """An observation as LeRobot's loops make it: float pictures from 0 to 1, channels first."""
    pictures = {f"observation.images.{name}":
                (torch.from_numpy(pixels).type(torch.float32) / 255).permute(2, 0, 1).contiguous()
                for name, pixels in images.items()}
    return {**pictures, "observation.state": torch.from_numpy(state), "task": task}


@pytest.fixture
def batch(random):
    return as_lerobot(*seen(random))


def test_gives_the_bits_of_the_command_line(make_policy, command_line, random):
    policy, before, after = make_policy(seed=11)
    for i in range(40):
        images, state = seen(random)
        if i % 3 == 2:
            del images["wrist"]
        task = f"put {i} cups away"
        chunk = after(policy.predict_action_chunk(before(as_lerobot(images, state, task))))
        assert chunk.shape == (1, 6, 14) and chunk.device.type == "cpu"
        assert same_bits(chunk[0], command_line(images, state, task, 11 + i)), i


def test_five_hundred_inferences_have_the_bits_of_the_engine(make_policy, engine, random):
    policy, before, after = make_policy(seed=0, n_action_steps=1)
    for i in range(500):
        images, state = seen(random)
        action = after(policy.select_action(before(as_lerobot(images, state))))
        expected = engine.infer(images, state, "pick up the cup", seed=i).actions
        assert same_bits(action, expected[:1]), i
    assert policy.engine.stats.inferences == 500


def test_make_policy_fits_it_to_an_environment(checkpoint, tokenizer, batch):
    from lerobot.policies.factory import make_policy, make_policy_config

    config = make_policy_config("saccade", checkpoint=str(checkpoint), tokenizer=str(tokenizer))
    policy = make_policy(config, env_cfg=FakeEnvConfig())
    assert policy.name == config.type == "saccade" and isinstance(policy, torch.nn.Module)
    assert policy.config is config
    assert (config.chunk_size, config.n_action_steps) == (6, 6)
    assert list(config.image_features) == ["observation.images.front", "observation.images.wrist"]
    assert config.robot_state_feature.shape == config.action_feature.shape == (14,)
    assert len(config.action_feature_names) == 14
    assert policy.select_action(batch).shape == (1, 14)

    other = FakeEnvConfig()
    other.features_map = {**other.features_map, "pixels/front": "observation.images.top"}
    with pytest.raises(ValueError, match="observation.images.top"):
        make_policy(copy.copy(config), env_cfg=other)
    other = FakeEnvConfig()
    other.features["action"].shape = (7,)
    with pytest.raises(ValueError, match="checkpoint's action has 14 values, .* is \\[7\\]"):
        make_policy(copy.copy(config), env_cfg=other)


def test_processors_change_no_number(make_policy, batch):
    _, before, after = make_policy()
    given = {key: value.clone() for key, value in batch.items() if key != "task"}
    made = before(batch)
    for key, value in given.items():
        assert torch.equal(made[key], value[None]), key
    assert made["task"] == ["pick up the cup"]
    actions = torch.linspace(-300, 300, 14)[None]
    assert torch.equal(after(actions.clone()), actions)


def test_what_save_pretrained_writes_is_loaded_by_its_path(make_policy, tmp_path, random, engine,
                                                           monkeypatch, checkpoint, tokenizer):
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    monkeypatch.chdir(checkpoint.parent)
    os.symlink(tokenizer, "words.model")
    first, _, _ = make_policy(checkpoint="pi05", tokenizer="words.model", seed=5, n_action_steps=2)
    first.save_pretrained(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)

    # As `--policy.path=saved --policy.n_action_steps=3` of LeRobot's programs does it.
    config = PreTrainedConfig.from_pretrained("saved", cli_overrides=["--n_action_steps=3"])
    config.pretrained_path = "saved"
    policy = get_policy_class(config.type).from_pretrained("saved", config=config)
    names = {"observation.images.top": "observation.images.front"}
    before, after = make_pre_post_processors(
        config, pretrained_path="saved",
        preprocessor_overrides={"device_processor": {"device": "cpu"},
                                "rename_observations_processor": {"rename_map": names}},
        postprocessor_overrides={"device_processor": {"device": "cpu"}})
    images, state = seen(random)
    given = as_lerobot({"top": images["front"], "wrist": images["wrist"]}, state)
    expected = engine.infer(images, state, "pick up the cup", seed=5).actions
    for i in range(3):
        assert same_bits(after(policy.select_action(before(given))), expected[i:i + 1])
    policy.select_action(before(given))
    assert policy.engine.stats.inferences == 2

    again = get_policy_class("saccade").from_pretrained("saved")
    assert again.config.n_action_steps == 2 and not again.training
    with pytest.raises(ValueError, match="own config"):
        get_policy_class("saccade").from_pretrained("saved", config=type(config)())


def test_from_pretrained_takes_what_another_policy_trained(checkpoint, tokenizer, tmp_path,
                                                           monkeypatch):
    import huggingface_hub

    from lerobot_policy_saccade import SaccadeConfig, SaccadePolicy

    shorter = tmp_path / "shorter"
    shorter.mkdir()
    for file in checkpoint.iterdir():
        (shorter / file.name).symlink_to(file)
    values = json.loads((checkpoint / "config.json").read_text())
    (shorter / "config.json").unlink()
    (shorter / "config.json").write_text(json.dumps({**values, "n_action_steps": 4}))
    options = SaccadeConfig(tokenizer=str(tokenizer), num_inference_steps=3)
    policy = SaccadePolicy.from_pretrained(shorter, config=options)
    assert (policy.config.n_action_steps, policy.engine.info.steps) == (4, 3)

    asked = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download",
                        lambda name, **given: asked.update(given, name=name) or str(shorter))
    policy = SaccadePolicy.from_pretrained("someone/pi05", revision="v2", cache_dir="here")
    assert asked == {"name": "someone/pi05", "revision": "v2", "cache_dir": "here"}
    assert policy.config.checkpoint == str(shorter)


@pytest.mark.parametrize("options, part", [
    ({"checkpoint": ""}, "needs a checkpoint"),
    ({"checkpoint": "/nowhere/at/all"}, "/nowhere/at/all"),
    ({"n_action_steps": 7}, "n_action_steps must be from 1 to the chunk's 6, it is 7"),
    ({"n_action_steps": 0}, "it is 0"),
    ({"precision": "f64"}, "must be f32, bf16, fp8, auto"),
    ({"tokenizer": "/nowhere.model"}, "/nowhere.model"),
])
def test_wrong_options_are_named(make_policy, options, part):
    with pytest.raises(ValueError) as error:
        make_policy(**options)
    assert part in str(error.value)


def test_every_level_of_a_picture_survives_lerobots_division(make_policy, engine):
    policy, _, _ = make_policy(seed=0)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    pixels = np.concatenate([levels, levels[::-1], levels.transpose(1, 0, 2)], axis=2)
    state = np.zeros(14, np.float32)
    expected = engine.infer({"front": pixels}, state, "go").actions
    exact = torch.from_numpy(pixels)
    for picture in (exact.permute(2, 0, 1) / 255, (exact / 255).permute(2, 0, 1).double(),
                    (exact.permute(2, 0, 1) / 255)[None], exact, exact[None],
                    exact.permute(2, 0, 1), pixels, exact.permute(2, 0, 1).half() / 255):
        policy._inferences = 0
        chunk = policy.predict_action_chunk({"observation.images.front": picture, "task": "go",
                                             "observation.state": state})
        assert same_bits(chunk[0], expected)


@pytest.mark.parametrize("picture, part", [
    (torch.full((3, 8, 8), 1.1), "must be from 0 to 1, it is from 1.1 to 1.1"),
    (torch.full((3, 8, 8), -0.1), "from -0.1"),
    (torch.full((3, 8, 8), float("nan")), "must be from 0 to 1"),
    (torch.full((3, 8, 8), 255.0), "it is from 255 to 255"),
    (torch.zeros((8, 8, 3)), "it is float32 [8, 8, 3]"),
    (torch.zeros((1, 8, 8)), "it is float32 [1, 8, 8]"),
    (torch.zeros((8, 8)), "it is float32 [8, 8]"),
    (torch.zeros((1, 1, 3, 8, 8)), "[1, 1, 3, 8, 8]"),
    (torch.zeros((3, 0, 8)), "is empty"),
    (torch.zeros((3, 8, 8), dtype=torch.int64), "it is int64 [3, 8, 8]"),
    (torch.zeros((8, 8, 4), dtype=torch.uint8), "it is uint8 [8, 8, 4]"),
])
def test_pictures_that_lerobot_does_not_make_are_refused(make_policy, batch, picture, part):
    policy, _, _ = make_policy()
    with pytest.raises(ValueError) as error:
        policy.predict_action_chunk({**batch, "observation.images.front": picture})
    assert "observation.images.front" in str(error.value) and part in str(error.value)


@pytest.mark.parametrize("change, part", [
    ({"observation.state": torch.zeros(13)}, "state has 13"),
    ({"observation.state": torch.zeros(1, 1, 14)}, "observation.state must be [batch, state_dim]"),
    ({"observation.state": torch.zeros(2, 14)}, "parts of a batch must be of one size"),
    ({"task": ["a", "b"]}, "parts of a batch must be of one size"),
    ({"task": None}, "neither a prompt nor its tokens"),
    ({"observation.language.tokens": torch.zeros(1, 4)}, "another policy's processors"),
])
def test_observations_that_do_not_fit_are_refused(make_policy, batch, change, part):
    policy, _, _ = make_policy()
    with pytest.raises(ValueError) as error:
        policy.predict_action_chunk({**batch, **change})
    assert part in str(error.value)


def test_cameras(make_policy, engine, random):
    policy, _, _ = make_policy(seed=0)
    images, state = seen(random)
    both = engine.infer(images, state, "go").actions
    front = engine.infer({"front": images["front"]}, state, "go").actions

    def chunk(given):
        policy._inferences = 0
        return policy.predict_action_chunk(as_lerobot(given, state, "go"))[0]

    assert same_bits(chunk({**images, "rear": images["front"]}), both)
    assert same_bits(chunk({"front": images["front"]}), front)
    with pytest.raises(ValueError, match="no camera 'rear', only front, wrist"):
        chunk({"front": images["front"], "rear": images["wrist"]})
    with pytest.raises(ValueError, match="no camera frame"):
        chunk({})


def test_an_openpi_checkpoint(make_policy, tmp_path, random, tokenizer):
    folder = tmp_path / "openpi"
    subprocess.run([BINARY, "synth", folder, "--layout", "openpi"], check=True,
                   stdout=subprocess.PIPE)
    options = {"openpi_config": "pi05_libero",
               "statistics": str(folder / "assets" / "synth" / "norm_stats.json")}
    policy, before, after = make_policy(checkpoint=str(folder), seed=3, **options)
    images, state = seen(random)
    images = {"base_0_rgb": images["front"], "left_wrist_0_rgb": images["wrist"]}
    assert [f"observation.images.{name}" for name in images] == list(
        policy.config.image_features)[:2]
    action = after(policy.select_action(before(as_lerobot(images, state[:8]))))
    with saccade.load(folder, device="cpu", tokenizer=tokenizer, **options) as engine:
        expected = engine.infer(images, state[:8], "pick up the cup", seed=3).actions
    assert policy.config.action_feature.shape == (7,)
    assert same_bits(action, expected[:1])


def test_a_batch_runs_one_after_the_other(make_policy, engine, random):
    policy, before, after = make_policy(seed=7, n_action_steps=2)
    given = [(*seen(random), f"task {i}") for i in range(3)]
    alone = [as_lerobot(*one) for one in given]
    batch = {key: torch.stack([one[key] for one in alone]) for key in alone[0] if key != "task"}
    batch = before({**batch, "task": [task for *_, task in given]})
    actions = [after(policy.select_action(batch)) for _ in range(2)]
    assert actions[0].shape == (3, 14)
    for i, (images, state, task) in enumerate(given):
        expected = engine.infer(images, state, task, seed=7 + i).actions
        assert same_bits(torch.stack([step[i] for step in actions]), expected[:2])


def test_noise(make_policy, engine, random):
    policy, _, _ = make_policy()
    images, state = seen(random)
    given = as_lerobot(images, state)
    noise = random.standard_normal((6, 32)).astype(np.float32)
    expected = engine.infer(images, state, given["task"], noise=noise).actions
    for form in (torch.from_numpy(noise), torch.from_numpy(noise)[None], noise[None]):
        assert same_bits(policy.predict_action_chunk(given, noise=form)[0], expected)
    policy.reset()
    assert same_bits(policy.select_action(given, noise=torch.from_numpy(noise))[0], expected[0])
    for form in (noise[:5], noise[:, :14], np.zeros((2, 6, 32), np.float32)):
        with pytest.raises(ValueError, match=r"noise must be \[1, 6, 32\]"):
            policy.predict_action_chunk(given, noise=form)


def test_seeds(make_policy, engine, random):
    images, state = seen(random)
    given = as_lerobot(images, state)
    policy, _, _ = make_policy()
    torch.manual_seed(3)
    first, second = (policy.predict_action_chunk(given) for _ in range(2))
    torch.manual_seed(3)
    assert same_bits(policy.predict_action_chunk(given), first)
    assert not same_bits(first, second)
    policy, _, _ = make_policy(seed=2**64 - 1)
    expected = engine.infer(images, state, given["task"], seed=2**64 - 1).actions
    assert same_bits(policy.predict_action_chunk(given)[0], expected)


@pytest.fixture
def rtc():
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    return lambda **options: RTCConfig(**{"enabled": True, "execution_horizon": 4, **options})


def test_a_chunk_continues_the_previous_one(make_policy, batch, engine, random, rtc):
    images, state = seen(random)
    given = as_lerobot(images, state)
    policy, _, _ = make_policy(seed=5)
    assert policy.supports_rtc() is True
    left = policy.predict_action_chunk(given)[0, 2:]

    def chunk(config, **arguments):
        policy.config.rtc_config = config
        policy.init_rtc_processor()
        policy._inferences = 0
        return policy.predict_action_chunk(given, **arguments)[0]

    def expected(previous, *wish, **options):
        wish = saccade.RealTime(previous.numpy(), *wish, **options)
        return engine.infer(images, state, given["task"], seed=5, realtime=wish).actions

    plain = chunk(None)
    guided = chunk(rtc(), inference_delay=1, prev_chunk_left_over=left)
    assert same_bits(guided, expected(left, 1, 4)) and not same_bits(guided, plain)
    assert same_bits(chunk(rtc(), inference_delay=1, prev_chunk_left_over=left[None]), guided)
    assert same_bits(chunk(None, inference_delay=1, prev_chunk_left_over=left),
                     expected(left, 1, 10))
    assert same_bits(chunk(rtc(), inference_delay=1, prev_chunk_left_over=left,
                           execution_horizon=2), expected(left, 1, 2))
    # A delay that LeRobot measured may be longer than the horizon.
    assert same_bits(chunk(rtc(), inference_delay=70, prev_chunk_left_over=left),
                     expected(left, 4, 4))
    # The rollout fills a short rest with zeros, which nobody predicted.
    padded = torch.cat([left[:2], torch.zeros(2, 14)])
    assert same_bits(chunk(rtc(), inference_delay=1, prev_chunk_left_over=padded),
                     expected(left[:2], 1, 4))
    from lerobot.configs.types import RTCAttentionSchedule

    exponential = rtc(prefix_attention_schedule=RTCAttentionSchedule.EXP, max_guidance_weight=3.0)
    assert same_bits(chunk(exponential, inference_delay=0, prev_chunk_left_over=left),
                     expected(left, 0, 4, schedule="exp", max_guidance_weight=3))
    for config, arguments in ((rtc(), {}), (rtc(), {"inference_delay": 2}),
                              (rtc(), {"prev_chunk_left_over": left[:0], "inference_delay": 2}),
                              (rtc(enabled=False), {"prev_chunk_left_over": left})):
        assert same_bits(chunk(config, **arguments), plain)


def test_one_step_is_lerobot_s_rtc_processor(make_policy, batch, rtc):
    from lerobot.policies.rtc.modeling_rtc import RTCProcessor

    policy, _, _ = make_policy(seed=1, num_inference_steps=1)
    left = policy.predict_action_chunk(batch)[0, 2:]
    policy._inferences = 5
    plain = policy.predict_action_chunk(batch)[0]
    policy.config.rtc_config = rtc(max_guidance_weight=0.75)
    policy._inferences = 5
    guided = policy.predict_action_chunk(batch, inference_delay=1, prev_chunk_left_over=left)[0]
    # Scaling to physical units is affine, so one step from 0 to `plain` is guided there too.
    velocity = RTCProcessor(policy.config.rtc_config).denoise_step(
        x_t=torch.zeros_like(plain), prev_chunk_left_over=left, inference_delay=1, time=1.0,
        original_denoise_step_partial=lambda x: -plain)
    assert not torch.allclose(guided, plain, atol=1e-2)
    assert torch.allclose(guided, -velocity, atol=1e-4)


def test_false_real_time_chunking_is_refused(make_policy, batch, rtc):
    policy, _, _ = make_policy()
    left = torch.ones(3, 14)
    with pytest.raises(ValueError, match="prev_chunk_left_over must be"):
        policy.predict_action_chunk(batch, prev_chunk_left_over=left[0], inference_delay=0)
    with pytest.raises(saccade.InvalidArgument, match=r"previous_actions must be numbers"):
        policy.predict_action_chunk(batch, prev_chunk_left_over=left[:, 1:], inference_delay=0)
    with pytest.raises(ValueError, match="predict_action_chunk"):
        policy.select_action(batch, inference_delay=2)
    policy.config.rtc_config = rtc()
    with pytest.raises(ValueError, match="predict_action_chunk"):
        policy.select_action(batch)
    policy.config.rtc_config.mode = "trained"
    for call in (policy.init_rtc_processor, lambda: policy.predict_action_chunk(batch)):
        with pytest.raises(saccade.NotSupported, match="trained"):
            call()
    with pytest.raises(TypeError, match="prev_actions"):
        policy.predict_action_chunk(batch, prev_actions=None)


def test_lerobot_s_rollout_takes_the_policy(make_policy):
    rollout = pytest.importorskip("lerobot.rollout.inference.rtc")
    policy, _, _ = make_policy()
    assert rollout.supports_rtc_inference(policy)


def test_reset_forgets_the_chunk(make_policy, batch):
    policy, _, _ = make_policy()
    for _ in range(3):
        policy.select_action(batch)
    assert policy.engine.stats.inferences == 1
    policy.reset()
    policy.select_action(batch)
    assert policy.engine.stats.inferences == 2
    policy._action_queue.clear()  # what LeRobot 0.6 does to drop queued actions
    policy.select_action(batch)
    assert policy.engine.stats.inferences == 3


def test_actions_lie_on_the_config_s_device(make_policy, batch):
    policy, _, _ = make_policy()
    policy.config.device = "meta"
    assert policy.predict_action_chunk(batch).device.type == "meta"
    assert policy.select_action(batch).device.type == "meta"


def test_warnings_are_logged_once(make_policy, batch, caplog):
    policy, _, _ = make_policy(tokenizer_max_length=2)
    for _ in range(3):
        policy.predict_action_chunk(batch)
    said = [record.getMessage() for record in caplog.records if "is cut" in record.getMessage()]
    assert len(said) == 1


def test_training_is_refused(make_policy, batch):
    policy, _, _ = make_policy()
    for use in (lambda: policy.forward(batch), policy.get_optim_params,
                policy.config.get_optimizer_preset):
        with pytest.raises(NotImplementedError, match="does not train"):
            use()


def test_discovery_imports_neither_the_engine_nor_the_policy():
    code = ("from lerobot.utils.import_utils import register_third_party_plugins as register\n"
            "from lerobot.configs.policies import PreTrainedConfig\n"
            "import sys; register()\n"
            "assert 'saccade' in PreTrainedConfig.get_known_choices()\n"
            "assert not {'saccade', 'lerobot_policy_saccade.modeling_saccade'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True,
                   env=os.environ | {"SACCADE_LIBRARY": "/nowhere.so"})
