"""Arrays and pictures in the binary buffer of a glTF file."""

import numpy as np
import pygltflib as gltf

_COMPONENTS = {
    np.dtype(np.float32): gltf.FLOAT,
    np.dtype(np.uint8): gltf.UNSIGNED_BYTE,
    np.dtype(np.uint16): gltf.UNSIGNED_SHORT,
    np.dtype(np.uint32): gltf.UNSIGNED_INT,
}
_SHAPES = {(): gltf.SCALAR, (2,): gltf.VEC2, (3,): gltf.VEC3, (4,): gltf.VEC4, (4, 4): gltf.MAT4}


class GltfBuffer:
    """Appends to the buffer of `document`, which has one."""

    def __init__(self, document: gltf.GLTF2):
        self._document = document
        self._blob = bytearray()

    def add_bytes(self, data: bytes, target: int | None = None) -> int:
        """A buffer view of some bytes, at an offset that suits every type. Returns its index."""
        self._blob += bytes(-len(self._blob) % 4)
        view = gltf.BufferView(
            buffer=0, byteOffset=len(self._blob), byteLength=len(data), target=target
        )
        self._blob += data
        self._document.bufferViews.append(view)
        return len(self._document.bufferViews) - 1

    def add_array(self, values: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """An accessor of an array whose first axis counts elements. Returns its index.

        Args:
          values: [n], [n, 2], [n, 3], [n, 4] or [n, 4, 4] (matrices act on columns) of float32 or
            an unsigned integer.
          target: what a viewer binds the array to: ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER or nothing.
          bounds: write minimum and maximum, as positions and times must have them.
        """
        # glTF stores matrices column by column.
        stored = np.swapaxes(values, 1, 2) if values.ndim == 3 else values
        accessor = gltf.Accessor(
            bufferView=self.add_bytes(np.ascontiguousarray(stored).tobytes(), target),
            byteOffset=0,
            componentType=_COMPONENTS[values.dtype],
            count=len(values),
            type=_SHAPES[values.shape[1:]],
        )
        if bounds:
            accessor.min = np.min(values, axis=0).reshape(-1).tolist()
            accessor.max = np.max(values, axis=0).reshape(-1).tolist()
        self._document.accessors.append(accessor)
        return len(self._document.accessors) - 1

    def finish(self) -> None:
        """Hands the buffer to the document."""
        self._blob += bytes(-len(self._blob) % 4)
        self._document.buffers = [gltf.Buffer(byteLength=len(self._blob))]
        self._document.set_binary_blob(bytes(self._blob))
