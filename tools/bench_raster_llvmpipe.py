"""Mesa's llvmpipe, the tuned software rasterizer, against `rasterize` forward, in a process.

python -m diffrender.tools.bench_raster_llvmpipe FACES SIZE REPEATS THREADS

Through moderngl on a context of EGL without a window. Both write the face and its depth of every
pixel of one mesh, no culling, projection included. "finish" ends when the image is done
(glFinish), "read" when it has also come back to the process, where ours is from the start. A
process of its own, since llvmpipe reads LP_NUM_THREADS once. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np
import torch

from diffrender.meshes import Mesh
from diffrender.raster import rasterize
from diffrender.tools.bench_format import time_calls
from diffrender.tools.bench_raster_scene import Cell, Scene, scene_of

__all__ = ["main"]

# The camera of the grid looks at the middle with focal length 1.1 x the size.
_VERTEX = """#version 330
in vec3 p;
void main() { gl_Position = vec4(2.2 * p.x, 2.2 * p.y, p.z - 0.02, p.z); }
"""
_FRAGMENT = """#version 330
out vec2 o;
void main() { o = vec2(float(gl_PrimitiveID), 1.0 / gl_FragCoord.w); }
"""


def _llvmpipe(scene: Scene) -> tuple[str, Callable[[], object], Callable[[], bytes]]:
    """Its name, a step that ends with glFinish, and one that reads the image back."""
    import moderngl

    size = scene.upstream.shape[1]
    context = moderngl.create_standalone_context(backend="egl")  # type: ignore[arg-type]
    program = context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
    vertices = context.buffer(scene.vertices[0].numpy().astype("f4").tobytes())
    faces = context.buffer(scene.faces.numpy().astype("i4").tobytes())
    mesh = context.vertex_array(program, [(vertices, "3f", "p")], faces)
    colour = context.texture((size, size), 2, dtype="f4")
    target = context.framebuffer([colour], context.depth_texture((size, size)))
    target.use()
    context.enable(moderngl.DEPTH_TEST)

    def draw() -> None:
        target.clear(-1.0, 0.0, 0.0, 0.0)
        mesh.render()

    def finish() -> None:
        draw()
        context.finish()

    def read() -> bytes:
        draw()
        return bytes(target.read(components=2, dtype="f4"))

    return str(context.info["GL_RENDERER"]), finish, read


def main(faces: int, size: int, repeats: int, threads: int) -> dict[str, object]:
    """Seconds of each, the peer's name, and the share of pixels that see another face."""
    torch.set_num_threads(threads)
    scene = scene_of(Cell(faces, size, 1))
    name, finish, read = _llvmpipe(scene)
    mesh, camera = Mesh(scene.vertices[0], scene.faces), scene.camera
    calls = {"ours": lambda: rasterize(mesh, camera), "finish": finish, "read": read}
    seconds = time_calls(calls, repeats=repeats, warm_up=5)
    # Clip space is bottom-up and so is the reading: row 0 is the image's top row, as ours.
    theirs = np.frombuffer(read(), "f4").reshape(size, size, 2)[..., 0]
    ours = rasterize(mesh, camera).face[..., 0].numpy()
    differs = float((theirs.astype(np.int64) != ours).mean())
    return {"renderer": name, "seconds": seconds, "differs": differs}


if __name__ == "__main__":
    print(json.dumps(main(*(int(word) for word in sys.argv[1:5]))))
