"""The exceptions of this package. Each carries the engine's own sentence."""


class Error(RuntimeError):
    """Something that Saccade could not do; the base of the others."""


class InvalidArgument(Error, ValueError):
    """An argument, or a file it names, breaks a documented contract."""


class DeviceError(Error):
    """The GPU or its driver is missing, too small, too old, or has failed."""


class NotSupported(Error):
    """A valid wish that this version cannot fulfil."""
