"""Many robots, many GPUs: a Ray Serve application in front of many `saccade serve` processes.

    python -m saccade.fleet ~/pi05_libero --replicas 4 -- --openpi-config pi05_libero

application() builds the same application for `serve run` and for Serve's configuration files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

from .._errors import NotSupported
from ._settings import Settings

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["Settings", "application"]


def application(settings: Union[Settings, Mapping[str, Any]]) -> Application:
    """The Serve application of these settings, or of a mapping of their names to values.

    Raises InvalidArgument where a setting is wrong, NotSupported where Ray Serve is not installed.
    """
    try:
        from ._deployments import deploy
    except ImportError as error:  # also where a folder that is called ray hides that it is missing
        raise NotSupported(
            f"saccade.fleet needs Ray Serve ({error}): pip install 'saccade[fleet]'") from None
    return deploy(settings if isinstance(settings, Settings) else Settings.of(settings))
