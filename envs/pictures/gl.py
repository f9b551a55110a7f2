"""Off-screen OpenGL: which one is used, and what is in the way where it fails. Importing it imports no simulator."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

BACKENDS = ("egl", "osmesa", "glfw")
# The versions of mujoco with which both suites run; later ones renamed arrays that robosuite 1.5 reads.
MUJOCO_FROM, MUJOCO_BELOW = (3, 3), (3, 9)
_INSTALL = (
    "Install software EGL (Debian: apt-get install libegl1 libgl1 libgl1-mesa-dri) and set MUJOCO_GL=egl; with a GPU, "
    "its driver's EGL library does as well. `pvrbench doctor` checks it."
)


class RenderError(RuntimeError):
    """No picture can be made on this machine; the text names the setting or the packages at fault."""


def configure_gl() -> None:
    """Chooses off-screen OpenGL; to be called before mujoco is imported for the first time.

    EGL serves machines with and without a GPU. One software renderer a process scales with the cores, many threads
    in each do not.

    Raises:
        RenderError: MUJOCO_GL or PYOPENGL_PLATFORM have values with which mujoco cannot draw off screen.
    """
    if sys.platform.startswith("linux"):
        if not os.environ.get("MUJOCO_GL"):
            os.environ["MUJOCO_GL"] = "egl"
        if remedy := _wrong_backend():
            raise RenderError(remedy)
        if os.environ["MUJOCO_GL"].lower() != "glfw":
            os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"].lower())
    os.environ.setdefault("LP_NUM_THREADS", "0")


def _wrong_backend() -> str:
    """What is wrong with the variables that choose the library; empty where nothing is."""
    backend, platform = os.environ.get("MUJOCO_GL", "egl"), os.environ.get("PYOPENGL_PLATFORM")
    if backend.lower() not in BACKENDS:
        return (
            f"MUJOCO_GL={backend} cannot draw off screen; expected one of {', '.join(BACKENDS)}. Unset MUJOCO_GL or "
            "set MUJOCO_GL=egl."
        )
    if backend.lower() != "glfw" and platform is not None and platform.lower() != backend.lower():
        return (
            f"PYOPENGL_PLATFORM={platform} contradicts MUJOCO_GL={backend}; both have to name the same library. Unset "
            "PYOPENGL_PLATFORM."
        )
    return ""


def gl_remedy() -> str:
    """What to do where OpenGL failed: names the environment variable that is in the way, if one is."""
    if sys.platform.startswith("linux"):
        if remedy := _wrong_backend():
            return remedy
        backend = os.environ.get("MUJOCO_GL", "egl").lower()
        loaded = getattr(getattr(sys.modules.get("mujoco.gl_context"), "GLContext", None), "__module__", "")
        if loaded and loaded != f"mujoco.{backend}":
            return (
                f"mujoco was imported with {loaded.removeprefix('mujoco.')} before pvrbench chose {backend}. Set "
                f"MUJOCO_GL={backend} before Python starts, or import pvrbench's simulators before mujoco."
            )
        if backend != "egl":
            return f"MUJOCO_GL={backend} does not work on this machine. Unset MUJOCO_GL or set MUJOCO_GL=egl."
        device, visible = os.environ.get("MUJOCO_EGL_DEVICE_ID"), os.environ.get("CUDA_VISIBLE_DEVICES")
        if device is not None:
            among = f" (CUDA_VISIBLE_DEVICES={visible} does not renumber EGL's devices)" if visible else ""
            return (
                f"MUJOCO_EGL_DEVICE_ID={device} may name no device of EGL{among}. Unset MUJOCO_EGL_DEVICE_ID, or set "
                "it to 0 or another number that EGL has."
            )
    return _INSTALL


def check_mujoco(found: str) -> None:
    """Refuses a version of mujoco that the suites were not written for, before it fails somewhere inside them.

    Args:
        found: the installed version.

    Raises:
        RenderError: it is another; the text says what to install.
    """
    parts = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if not MUJOCO_FROM <= parts < MUJOCO_BELOW:
        wanted = f"mujoco>={'.'.join(map(str, MUJOCO_FROM))},<{'.'.join(map(str, MUJOCO_BELOW))}"
        raise RenderError(
            f"mujoco {found} is installed, and Meta-World or robosuite fails with it. Install another: "
            f"pip install '{wanted}'"
        )


def load_mujoco() -> Any:
    """Imports mujoco after OpenGL was chosen, and returns the module.

    Raises:
        RenderError: OpenGL cannot be loaded, or mujoco has another version; the text names what is in the way.
    """
    configure_gl()
    with contextlib.suppress(PackageNotFoundError):
        check_mujoco(version("mujoco"))
    try:
        import mujoco
        import mujoco.gl_context  # loads the OpenGL library that MUJOCO_GL names
    except (ImportError, AttributeError, RuntimeError) as error:
        raise RenderError(f"MuJoCo cannot load OpenGL. {gl_remedy()} OpenGL said: {error}") from error
    context: Any = mujoco.gl_context.GLContext
    if not hasattr(context, "_context"):
        # A context that could not be made has nothing to free; without this, Python prints a second error about it.
        context._context = None
    return mujoco


def load_triton() -> None:
    """Loads torch's compiler, if it is installed, before OpenGL.

    Both bring an LLVM of their own. Mesa's bears the other beside it; the other, loaded second, ends the process, which
    happened when timm was imported after the first picture.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
