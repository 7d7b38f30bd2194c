"""Which method of descent a run takes, and how many iterations that makes."""

from __future__ import annotations

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.reconstruct.adam import Adam
from diffrender.reconstruct.descent import Descent
from diffrender.reconstruct.lbfgs import LBFGS
from diffrender.reconstruct.levenberg import LevenbergMarquardt
from diffrender.reconstruct.settings import ReconstructSettings, StageSettings

__all__ = ["choose_descent", "iteration_limit", "iterations_of", "solver_name"]


def choose_descent(name: str, camera: Camera, silhouette: str | None = None) -> Descent:
    """The method that `solver_name` says.

    Raises:
        InputError: as there.
    """
    methods: dict[str, Descent] = {
        "adam": Adam(), "lbfgs": LBFGS(), "lm": LevenbergMarquardt()
    }  # fmt: skip
    return methods[solver_name(name, camera, silhouette)]


def solver_name(name: str, camera: Camera, silhouette: str | None = None) -> str:
    """The same name; "auto" is Levenberg-Marquardt where its Jacobian is known and fast.

    That is for a pinhole on the CPU with the library's own silhouette; otherwise it is Adam.

    Raises:
        InputError: "lm" for a camera with a lens, or with a technique of the catalogue.
    """
    if silhouette is not None:
        if name == "lm":
            raise InputError(
                "solver is 'lm', whose Jacobian is that of the library's own silhouette, and "
                f"silhouette is {silhouette!r}: use solver='adam' or 'lbfgs'"
            )
        name = "adam" if name == "auto" else name
    lens = camera.distortion is not None
    if name == "lm" and lens:
        raise InputError(
            "solver is 'lm', whose Jacobian is worked out for a pinhole, and this camera has a "
            "lens: use solver='adam' or 'lbfgs', or undistort the image"
        )
    if name == "auto":
        return "adam" if lens or camera.intrinsics.is_cuda else "lm"
    return name


def iteration_limit(settings: ReconstructSettings, camera: Camera) -> int:
    """The most often that `progress` is called: the start of every stage, and its iterations."""
    if settings.method != "render":
        return 0
    descent = choose_descent(settings.solver, camera, settings.silhouette)
    return sum(descent.iterates(iterations_of(stage, descent)) for stage in settings.stages)


def iterations_of(stage: StageSettings, descent: Descent) -> int:
    """Iterations of a stage by a method, which may need a share of Adam's."""
    return max(min(stage.iterations, 1), round(stage.iterations * descent.share))
