"""Imports LeRobot's own model and processor modules without LeRobot's training dependencies.

LeRobot's package __init__ files pull in datasets, draccus and more. The modules that compute
actions need none of that, so the packages are registered with their path and without running
their __init__, and the few names that remain are placeholders. The modules that compute are
imported unchanged.
"""

import importlib
import importlib.util
import os
import sys
import types
from typing import TypeVar


def stub(name, **members):
    """Registers an empty module, with the given members, under a dotted name."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], leaf, module)
    return module


def package(source, name):
    """Registers a package whose submodules are importable and whose __init__ does not run."""
    module = stub(name)
    module.__path__ = [os.path.join(source, *name.split("."))]
    return module


def _any_class(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def install(source):
    """Makes lerobot.policies.{pi0,pi05} and lerobot.processor importable from `source`."""
    if "lerobot" in sys.modules:
        return
    from torch import nn

    if importlib.util.find_spec("draccus") is None:
        stub("draccus").__path__ = []
        stub("draccus.choice_types", ChoiceRegistry=type("ChoiceRegistry", (), {}))
    for name in ("lerobot", "lerobot.configs", "lerobot.policies", "lerobot.policies.pi0",
                 "lerobot.policies.pi05", "lerobot.policies.rtc", "lerobot.processor"):
        package(source, name)
    kinds = importlib.import_module("lerobot.configs.types")
    configs = sys.modules["lerobot.configs"]
    for name in ("FeatureType", "NormalizationMode", "PipelineFeatureType", "PolicyFeature",
                 "RTCAttentionSchedule"):
        setattr(configs, name, getattr(kinds, name))
    configs.PreTrainedConfig = type("PreTrainedConfig", (), {})
    configs.__getattr__ = _any_class
    stub("lerobot.policies.pretrained", PreTrainedPolicy=nn.Module, T=TypeVar("T"))
    stub("lerobot.policies.pi0.configuration_pi0", DEFAULT_IMAGE_SIZE=224,
         PI0Config=type("PI0Config", (), {}))
    stub("lerobot.policies.pi05.configuration_pi05", DEFAULT_IMAGE_SIZE=224,
         PI05Config=type("PI05Config", (), {}))
