"""What rosidl's own serialisation writes, and what it leaves alone."""

from __future__ import annotations

import ctypes
from typing import Any

from rclpy.serialization import serialize_message
from rclpy.utilities import get_rmw_implementation_identifier

_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_capsule.argtypes, _capsule.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


class _Array(ctypes.Structure):
    """``rcutils_uint8_array_t``."""

    _fields_ = [
        ('buffer', ctypes.c_void_p),
        ('length', ctypes.c_size_t),
        ('capacity', ctypes.c_size_t),
        ('allocator', ctypes.c_void_p * 5),
    ]


def serialize_into(message: Any, fill: int) -> bytes:
    """Return a message as ``rmw_serialize`` writes it into memory that is filled with a byte.

    ``rclpy`` hands out fresh memory, whose content is anybody's: where rosidl writes nothing, that
    is what one sees.
    """
    meta = type(type(message))
    size = len(serialize_message(message))
    memory = ctypes.create_string_buffer(bytes([fill]) * size, size)
    array = _Array(ctypes.addressof(memory), 0, size)
    create, destroy, convert, support = (
        _capsule(getattr(meta, name), None)
        for name in (
            '_CREATE_ROS_MESSAGE',
            '_DESTROY_ROS_MESSAGE',
            '_CONVERT_FROM_PY',
            '_TYPE_SUPPORT',
        )
    )
    assert create and destroy and convert
    raw = ctypes.CFUNCTYPE(ctypes.c_void_p)(create)()
    try:
        function = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.py_object, ctypes.c_void_p)
        assert function(convert)(message, raw)
        rmw = ctypes.CDLL(f'lib{get_rmw_implementation_identifier()}.so')
        rmw.rmw_serialize.argtypes = [ctypes.c_void_p] * 3
        assert rmw.rmw_serialize(raw, support, ctypes.byref(array)) == 0
    finally:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(destroy)(raw)
    assert (array.buffer, array.length) == (ctypes.addressof(memory), size)
    return memory.raw
