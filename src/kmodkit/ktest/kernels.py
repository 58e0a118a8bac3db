"""Where a kernel's files are: the image to boot, the release, and the module directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmodkit.errors import KtestError
from kmodkit.ktest.vmlinux import release_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MODULE_PARENTS: Final = ("usr/lib/modules", "lib/modules")


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """A kernel to boot.

    ``modules`` is the directory of its release (``.../lib/modules/RELEASE``), None where there is none.
    ``release`` is empty for an image that does not name it.
    """

    image: Path
    release: str
    modules: Path | None


def find_kernel(path: Path, modules_root: Path | None = None) -> KernelFiles:
    """Return the kernel at ``path``: an image, or a root (an unpacked package, or ``/``) that holds just one.

    ``modules_root`` is a module directory, or a root that holds it; by default the root of the image.
    Raises KtestError where there is no kernel, or more than one.
    """
    path = path.absolute()
    image = path if path.is_file() else _one_image(path)
    release = _release(image)
    if modules_root is None:
        # RELEASE/vmlinuz beside its modules, ROOT/boot/vmlinuz-RELEASE, or the root that was given
        roots: Iterable[Path] = (path, image.parent) if path.is_dir() else (image.parent, image.parent.parent)
        found = [place for root in roots if (place := _modules(root, release)) is not None]
        return KernelFiles(image, release, found[0] if found else None)
    modules = _modules(modules_root.absolute(), release)
    if modules is None:
        raise KtestError(f"{modules_root}: holds no modules of kernel {release or image}")
    return KernelFiles(image, release or modules.name, modules)


def _one_image(root: Path) -> Path:
    images = sorted({*root.glob("boot/vmlinuz*"), *root.glob("vmlinuz*"), *root.glob("boot/vmlinux*")})
    for parent in _MODULE_PARENTS:
        images.extend(sorted(root.glob(f"{parent}/*/vmlinuz")))
    images = list({image.resolve(): image for image in reversed(images) if image.is_file()}.values())
    if len(images) != 1:
        names = ", ".join(str(image) for image in images) or "none"
        raise KtestError(f"{root}: one kernel image was expected here, found: {names}")
    return images[0]


def _release(image: Path) -> str:
    try:
        return release_of(image)
    except OSError as error:
        raise KtestError(f"{image}: {error.strerror}") from error
    except KtestError:
        name = image.name.partition("-")[2]
        return name or (image.parent.name if image.parent.parent.name == "modules" else "")


def _modules(root: Path, release: str) -> Path | None:
    """Return the module directory that ``root`` is or holds."""
    if (root / "modules.builtin").is_file() or (root / "kernel").is_dir():
        return root
    for parent in _MODULE_PARENTS:
        if release and (root / parent / release).is_dir():
            return root / parent / release
    return None
