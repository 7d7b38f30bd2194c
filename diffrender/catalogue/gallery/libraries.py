"""Table 5 of the survey, libraries side by side, brought up to date.

Facts of 2020 are the survey's table; what changed by 2026 stands behind "now:". The last column
is this library.
"""

from __future__ import annotations

from html import escape

from diffrender.catalogue.card import Card
from diffrender.catalogue.gallery.shell import page

__all__ = ["LIBRARIES", "libraries_page", "library_table"]

LIBRARIES = ("PyTorch3D", "Kaolin", "TensorFlow Graphics", "Mitsuba", "diffrender")


def library_table(techniques: int) -> dict[str, tuple[str, ...]]:
    """What is compared -> a cell a library, in the order of `LIBRARIES`."""
    return {
        "version": (
            "0.2; now: 0.7.9",
            "0.1.0; now: 0.18",
            "1.0.0",
            "2.0.0; now: Mitsuba 3",
            "0.1.0",
        ),
        "core": (
            "PyTorch, CUDA",
            "PyTorch, CUDA",
            "TensorFlow, C++, GPU",
            "C++, CUDA, Python bindings; now: Dr.Jit, a just-in-time compiler that differentiates",
            "PyTorch, C++ for CPUs, Triton for GPUs",
        ),
        "primitives": (
            "triangle mesh, point cloud; now: implicit fields and Pulsar's spheres too",
            "triangle or quad mesh, point cloud, voxel grid, signed distance",
            "triangle mesh, point cloud",
            "triangle mesh, custom; now: volumetric primitives too",
            "triangle mesh, points; in the catalogue also voxels, spheres, Gaussians, signed "
            "distances, fields",
        ),
        "differentiable rendering": (
            "Soft Rasterizer, made to be extended; now: its nearest K faces, Pulsar, implicit",
            "NMR, Soft Rasterizer, DIB-R; now: DIB-R with nvdiffrast as an optional back-end, "
            "FlexiCubes",
            "analytical derivatives",
            "Loubet et al.; now: path replay (prb), projective sampling (prb_projective); the "
            "reparameterisations went with 3.5.0",
            f"antialiasing of pixel pairs, soft silhouettes; {techniques} techniques in the "
            "catalogue, each held to finite differences",
        ),
        "rendering": (
            "rasterisation",
            "rasterisation",
            "rasterisation",
            "ray tracing",
            "rasterisation; in the catalogue also ray marching, splatting, path tracing",
        ),
        "3D operations": (
            "graph convolution, transforms, point operations (Umeyama, ICP, nearest neighbours)",
            "conversions of primitives, transforms",
            "graph convolution, transforms",
            "transforms",
            "transforms, fitting of shape priors, block-sparse layers, marching of grids in the "
            "catalogue",
        ),
        "shaders": (
            "hard and soft Phong, hard and soft Gouraud, hard flat, soft silhouette",
            "Phong",
            "Phong",
            "a wide range of BSDFs",
            "Gouraud, textures with mip maps, soft shading and silhouettes",
        ),
        "lights": (
            "point, directional",
            "ambient, directional",
            "point, spherical harmonics",
            "area, point, spot, constant environment, environment map, directional",
            "ambient, directional; in the catalogue's path tracer area and environment",
        ),
        "losses": (
            "Chamfer, mesh edges, Laplacian, normal consistency",
            "Chamfer, directed distance, mesh Laplacian",
            "Chamfer",
            "none",
            "silhouette, box, depth, photometric, SSIM, priors of size and shape, ground contact; "
            "Laplacian, mesh edges, normal consistency",
        ),
        "cameras": (
            "perspective, orthographic",
            "perspective, orthographic",
            "perspective, orthographic, quadratic distortion",
            "perspective (pinhole, thin lens), irradiance and radiance meters",
            "perspective with OpenCV's distortion",
        ),
        "files": (
            "OBJ, PLY",
            "external",
            "external",
            "OBJ, PLY",
            "GLB, OBJ, KITTI, COCO, PNG, PFM",
        ),
        "data sets": (
            "none",
            "ScanNet, ModelNet, ShapeNet",
            "none",
            "none",
            "KITTI, synthetic streets",
        ),
        "architectures": (
            "none",
            "DIB-R, PointNet(++), GResNet, 3D-GAN, Pixel2Mesh, GEOMetrics, Occupancy Networks",
            "none",
            "none",
            "depth networks, a pose predictor, shape auto-encoders",
        ),
        "other": (
            "heterogeneous batches",
            "model zoo, visualisation",
            "TensorBoard (mesh)",
            "scene files, plugins",
            "reconstruction of street scenes from one image, this gallery",
        ),
    }


def libraries_page(cards: list[Card]) -> str:
    """The table as a page."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", *LIBRARIES))
    rows = ""
    for what, cells in library_table(len(cards)).items():
        body = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows += f'<tr><th scope="row">{escape(what)}</th>{body}</tr>'
    return page(
        "Libraries · catalogue",
        "<h1>Libraries</h1><p>Table 5 of the survey (2020), brought up to date: what changed by "
        "2026 stands behind “now:”. A cell without it is as the survey has it, which is not to say "
        "that nothing changed.</p>"
        f'<div class="scroll"><table class="libraries"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>",
    )
