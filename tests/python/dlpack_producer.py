"""A producer of DLPack tensors of any type and device over NumPy's memory, for tests: what another
library would export, without that library."""

import ctypes

import numpy as np


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _ManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ManagedTensor))
_ManagedTensor._fields_ = [
    ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
    ("ndim", ctypes.c_int32), ("dtype", _DataType), ("shape", ctypes.POINTER(ctypes.c_int64)),
    ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    ("context", ctypes.c_void_p), ("deleter", _Deleter)]

_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p,
                                 ctypes.c_void_p)(("PyCapsule_New", ctypes.pythonapi))

CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "complex": 5, "e4m3": 10}


class Producer:
    """The memory of an array as a tensor of a type that NumPy may lack, such as ("bfloat", 16) over
    uint16. Counts its exports, and notes the stream that each was asked for."""

    def __init__(self, array, kind, bits, device=(1, 0), explicit_strides=True, offset=0):
        self.array, self.device, self.streams = array, device, []
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        steps = [stride // array.itemsize for stride in array.strides]
        self.strides = (ctypes.c_int64 * array.ndim)(*steps)
        self.tensor = _ManagedTensor(
            data=array.ctypes.data - offset, device_type=device[0], device_id=device[1],
            ndim=array.ndim, dtype=_DataType(CODES[kind], bits, 1), shape=self.shape,
            strides=self.strides if explicit_strides else None, byte_offset=offset)

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        return _new_capsule(ctypes.addressof(self.tensor), b"dltensor", None)


def bfloat16(array):
    """A float array rounded to bfloat16, to nearest even, as uint16."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def from_e4m3(bits):
    """The numbers that eight bits of e4m3 stand for."""
    exponent, mantissa = bits >> 3 & 15, (bits & 7).astype(np.float64)
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6,
                         (1 + mantissa / 8) * 2.0 ** (exponent.astype(np.float64) - 7))
    return np.where(bits & 128, -magnitude, magnitude)
