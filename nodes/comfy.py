"""The one seam to ComfyUI: schema classes, folders, memory, progress and cancel, with or without ComfyUI.

io, ui, ComfyExtension          comfy_api.latest where ComfyUI runs, host.api elsewhere
drawn_by(widget, entry)         a text input drawn by a widget of web/
model_files(folder)             names of model files in ComfyUI's folder of that name, or of files with other suffixes
model_path(folder, name)        the file; raises FileNotFoundError with what was found
input_folder()                  where Load Image finds its pictures
input_file(name)                a file in it; raises FileNotFoundError, ValueError when the name leads outside
picture_path(name, sub, type)   a file of the input, output or temp folder; raises as input_file
picture(path)                   its first frame [H, W, 3] as Load Image gives it; raises ValueError
prompts_wait()                  whether ComfyUI runs a prompt, or one waits
serve(method, path, handler)    adds a route to ComfyUI's server; the studio adds them itself
temp_folder()                   where files lie that only a node shows
save_text(text, prefix, suffix) a new numbered file in the output folder, whole or not at all
file_marks(find)                changes when one of the files does, for fingerprint_inputs
torch_device()                  where models run
gpus(count)                     that and others like it; raises ValueError where there are fewer
use_model(module, device)       the module, loaded there under ComfyUI's memory management
use_models(modules, device)     several that are needed at the same time
native(who)                     exchanges models with ComfyUI's own nodes; raises outside ComfyUI
save_place(prefix)               folder/name in the output folder that a filename_prefix stands for
device_room(), main_room()      memory that a run can have
verdict(cls, **named)           what validate_inputs of a node answers
refusing(told)                  has ComfyUI refuse prompts before they run
streamed_video(frames, fps, audio)  a VIDEO whose frames are decoded while it is saved
progress(total)                 update(step, preview); raises when the run was cancelled
check_interrupted()             raises when the run was cancelled
held_back()                     an output's value that keeps the nodes wired to it from running
"""
# pyright: reportMissingImports=false
# ComfyUI is not installed where types are checked: its API is checked by the types of host/api.

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from ..host import folders

IN_COMFYUI = importlib.util.find_spec("comfy_api") is not None and importlib.util.find_spec("folder_paths") is not None

if TYPE_CHECKING or not IN_COMFYUI:
    from ..host.api import ComfyExtension, io, ui
else:
    from comfy_api.latest import ComfyExtension, io, ui

if TYPE_CHECKING:
    import torch
    from aiohttp import web

    from ..host.video import VideoInput
    from ..pipeline import StreamedFrames

PICTURE_FOLDERS = ("input", "output", "temp")

__all__ = [
    "IN_COMFYUI",
    "ComfyExtension",
    "check_interrupted",
    "device_room",
    "drawn_by",
    "file_mark",
    "file_marks",
    "gpus",
    "held_back",
    "input_file",
    "input_folder",
    "io",
    "main_room",
    "model_files",
    "model_path",
    "native",
    "picture",
    "picture_path",
    "progress",
    "prompts_wait",
    "refusing",
    "save_place",
    "save_text",
    "serve",
    "streamed_video",
    "temp_folder",
    "torch_device",
    "ui",
    "use_model",
    "use_models",
    "verdict",
]


def drawn_by(widget: str, entry: io.WidgetInput) -> io.WidgetInput:
    """The input with a widget of web/ in place of the text field; its type and value stay a string's."""
    entry.extra_dict = {"widgetType": widget}  # not as an argument, which ComfyUI 0.3.64 does not take
    return entry


def model_files(folder: str, suffixes: tuple[str, ...] = folders.MODEL_SUFFIXES) -> list[str]:
    """Files with these suffixes in ComfyUI's model folder ("diffusion_models", "vae", ...), relative to it."""
    if not IN_COMFYUI:
        return folders.model_files(folder, suffixes)
    import folder_paths

    # ComfyUI's own list leaves out what its own loaders do not read, GGUF files among it
    found = {name for name in folder_paths.get_filename_list(folder) if name.lower().endswith(suffixes)}
    for root in map(Path, folder_paths.get_folder_paths(folder)):
        found |= {str(Path(name)) for name in folders.files_below(root, suffixes)}
    return sorted(found)


def model_path(folder: str, name: str) -> Path:
    """The file behind a name from model_files. Raises FileNotFoundError; ValueError when the name leads outside."""
    if not IN_COMFYUI:
        return folders.model_path(folder, name)
    import folder_paths

    path = folder_paths.get_full_path(folder, name)  # confined by ComfyUI
    if path is None:
        found = ", ".join(model_files(folder)) or "no model files"
        roots = ", ".join(folder_paths.get_folder_paths(folder))
        raise FileNotFoundError(f"{name}: no such file in ComfyUI's {folder} folders ({roots}); they hold {found}")
    return Path(path)


def input_folder() -> Path:
    """The folder of pictures and videos that people hand in."""
    if not IN_COMFYUI:
        return folders.directory("input")
    import folder_paths

    return Path(folder_paths.get_input_directory())


def input_file(name: str) -> Path:
    """A file in input_folder() by its name there. Raises FileNotFoundError; ValueError when the name leads outside."""
    path = folders.confined(input_folder(), name)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; put it into that folder, or clear the input")
    return path


def picture_path(name: str, subfolder: str = "", kind: str = "input") -> Path:
    """A file by what the front end calls it. Raises FileNotFoundError; ValueError when the name leads outside."""
    if kind not in PICTURE_FOLDERS:
        raise ValueError(f"no folder of pictures is named {kind!r}; there are {', '.join(PICTURE_FOLDERS)}")
    if IN_COMFYUI:
        import folder_paths

        root = Path(folder_paths.get_directory_by_type(kind))
    else:
        root = folders.directory(kind)
    path = folders.confined(root, f"{subfolder}/{name}".lstrip("/"))
    if not path.is_file():
        raise FileNotFoundError(f"{name or 'the picture'}: no such file in the {kind} folder; choose another picture")
    return path


def picture(path: Path) -> torch.Tensor:
    """The first frame of a picture file [H, W, 3] in 0..1, turned as its EXIF data says. Raises ValueError."""
    from ..host import images

    return images.load(path, most=1)[0][0]


def serve(method: str, path: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
    """Adds a route to ComfyUI's server, where there is one."""
    if not IN_COMFYUI:
        return  # host/server.py asks nodes/routes.py
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)  # none where ComfyUI's nodes are used without its server
    if server is not None:
        server.routes.route(method, path)(handler)


def prompts_wait() -> bool:
    """Whether ComfyUI's queue has something to do. The studio knows of its own."""
    if not IN_COMFYUI:
        return False
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    return server is not None and server.prompt_queue.get_tasks_remaining() > 0


def temp_folder() -> Path:
    """The folder of files that only nodes show; emptied when the server starts. Made where it is not there."""
    if IN_COMFYUI:
        import folder_paths

        path = Path(folder_paths.get_temp_directory())
    else:
        path = folders.directory("temp")
    path.mkdir(parents=True, exist_ok=True)
    return path


def save_text(text: str, prefix: str, suffix: str) -> Path:
    """Write text as prefix_00001_suffix, numbered on, in the output folder. Raises ValueError where that leads out."""
    from ..machine.slots import reserved

    if IN_COMFYUI:
        import folder_paths

        folder, name, _, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
        numbers = reserved(Path(folder), name)
    else:
        numbers = folders.save_slot(prefix, "output", 0, 0)
    with numbers as slot:
        return slot.save(suffix, lambda part: part.write_text(text, "utf-8"))


def save_place(prefix: str) -> Path:
    """The folder in the output folder, and the name, that a prefix stands for. Raises ValueError where it leads out."""
    if not IN_COMFYUI:
        return folders.save_place(prefix, folders.directory("output"))
    import folder_paths

    root = Path(folder_paths.get_output_directory())
    return folders.save_place(prefix if prefix.strip("./") else "ComfyUI", root)  # a core saves without a name, too


def main_room() -> float:
    """Bytes of main memory that a run can have: what is free, and what this process holds; infinite if unknown."""
    from ..machine.limits import free_memory, held_memory

    free = free_memory()
    return float("inf") if free is None else free + held_memory()


def device_room() -> tuple[float, bool]:
    """Bytes that a run can have where models run, and whether that is a GPU with a memory of its own."""
    import torch

    device = torch_device()
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device), True
    return main_room(), False


def verdict(cls: type[io.ComfyNode], **named: object) -> bool | str:
    """What a node's validate_inputs answers for the inputs that it names, whose bounds ComfyUI then leaves to it.

    In ComfyUI also for all that is known to be wrong with the prompt and told by this node; see nodes/preflight.py.
    """
    for entry in cls.define_schema().inputs:
        value, low, high = named.get(entry.id), getattr(entry, "min", None), getattr(entry, "max", None)
        if low is not None and high is not None and value is not None and not low <= cast("float", value) <= high:
            return f"{entry.id} is {value}; expected {low} to {high}"
    if not IN_COMFYUI:
        return True  # host/validation.py asks for the whole prompt at once
    from .comfy_prompts import told_here

    return told_here() or True


def refusing(told: Callable[[dict], dict[str, list[str]]]) -> None:
    """Has nodes of ComfyUI refuse a prompt as it comes in, by what `told` says of it for their ids; see `verdict`."""
    if IN_COMFYUI:
        from .comfy_prompts import watch

        watch(told)


def file_marks(find: Callable[[], Iterable[Path]]) -> tuple | str:
    """Changes when one of the files does, for fingerprint_inputs; "missing" where `find` raises, as execute will."""
    try:
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in (path.stat() for path in find()))
    except (OSError, ValueError):
        return "missing"


def file_mark(name: str) -> tuple | str:
    """The marks of an input file; of none where the name is empty."""
    return file_marks(lambda: [input_file(name.strip())] if name.strip() else [])


def torch_device() -> torch.device:
    """The device models run on: ComfyUI's choice, else CUDA, else MPS, else the CPU."""
    if IN_COMFYUI:
        import comfy.model_management

        return comfy.model_management.get_torch_device()
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def gpus(count: int) -> list[torch.device]:
    """The GPU that models run on and others of the machine, so many in all. Raises ValueError where there are fewer."""
    import torch

    first, there = torch_device(), torch.cuda.device_count()
    found = there if first.type == "cuda" else 0
    if count > found:
        have = f"{found} GPU{'s' * (found > 1)}" if found else f"none: models run on {first}"
        raise ValueError(
            f"gpus is {count}, and this machine has {have} (of NVIDIA or AMD): set gpus to {max(1, found)} on VDiT "
            "Load Model"
        )
    number = torch.cuda.current_device() if first.index is None else first.index
    return [torch.device("cuda", n) for n in (number, *(n for n in range(there) if n != number))][:count]


def use_model(module: torch.nn.Module, device: torch.device | None = None) -> torch.nn.Module:
    """The module, ready to run on `device` (default torch_device()). Ask again before each use; see use_models."""
    use_models([module], device)
    return module


def use_models(
    modules: Sequence[torch.nn.Module | None], device: torch.device | None = None, activations: int = 0
) -> None:
    """Loads modules that are needed at the same time, so that none is moved off to make room for another.

    modules: those that are None are left out. activations: bytes that must stay free besides the weights. What does
    not fit is streamed from main memory.
    In ComfyUI each has a ModelPatcher of its own under model management: it makes room for other models and gives
    way to them, so between two uses it may have been moved off.
    """
    device = device or torch_device()
    if IN_COMFYUI:
        from .comfy_memory import load
    else:
        from ..model.streaming import load
    load([module for module in modules if module is not None], device, activations)


def native(who: str) -> ModuleType:
    """nodes/comfy_native.py, which exchanges models with ComfyUI. Raises ValueError outside ComfyUI."""
    if not IN_COMFYUI:
        raise ValueError(
            f"{who} trades models with ComfyUI's own nodes, and here is no ComfyUI: use VDiT Load Model, VDiT Sample "
            "and VDiT Decode, which need none"
        )
    from . import comfy_native

    return comfy_native


def streamed_video(frames: StreamedFrames, fps: float, audio: dict | None = None) -> VideoInput:
    """A VIDEO of frames that are decoded while it is saved, with sound, by this ComfyUI's own encoder."""
    from fractions import Fraction

    from ..machine.writing import written

    if TYPE_CHECKING or not IN_COMFYUI:
        from ..host.video import VideoComponents, VideoFromComponents
    else:
        from comfy_api.input_impl import VideoFromComponents
        from comfy_api.util import VideoComponents
    rate = Fraction(fps).limit_denominator(1001)

    class StreamedVideo(VideoFromComponents):
        """What is asked about size, length and rate is answered without decoding."""

        def get_components(self) -> VideoComponents:
            """All frames in memory."""
            return VideoComponents(images=frames.whole(), frame_rate=rate, audio=audio)

        def save_to(self, path: object, *options: object, **named: object) -> None:
            """As the parent's; a file is written whole or not at all, also where the run is cancelled."""
            save = cast("Callable[..., None]", super().save_to)  # each core has its own options
            if not IN_COMFYUI or not isinstance(path, (str, Path)):
                return save(path, *options, **named)
            with written(Path(path)) as part:
                ended = part.with_name(part.name + Path(path).suffix)  # by which cores know the format
                try:
                    save(str(ended), *options, **named)
                    ended.replace(part)
                finally:
                    ended.unlink(missing_ok=True)

        def get_dimensions(self) -> tuple[int, int]:
            return frames.shape[2], frames.shape[1]

        def get_frame_count(self) -> int:
            return len(frames)

        def get_frame_rate(self) -> Fraction:
            return rate

        def get_duration(self) -> float:
            return float(len(frames) / rate)

    # An encoder uses a tensor's shape, length and iteration, which these frames have.
    return StreamedVideo(VideoComponents(images=cast("torch.Tensor", frames), frame_rate=rate, audio=audio))


def held_back() -> object:
    """Takes the place of an output's value: nodes wired to it do not run, and no error is shown."""
    if IN_COMFYUI:
        from comfy_execution.graph_utils import ExecutionBlocker

        return ExecutionBlocker(None)
    from ..host.api.io import ExecutionBlocker

    return ExecutionBlocker()


def check_interrupted() -> None:
    """Call between any two pieces of long work; raises ComfyUI's (or the host's) interrupt when cancelled."""
    if IN_COMFYUI:
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()
    else:
        from ..host import running

        running.check_interrupted()


def progress(total: int) -> Callable[..., None]:
    """A progress bar for the running node: call update(step, preview=None) after each of `total` steps.

    preview: a PIL image, or the frames of the forming video as a list of them, which plays until update is dropped or
    given a newer one. Raises on cancel.
    """
    if not IN_COMFYUI:
        from ..host import running

        return running.progress(total)
    from .comfy_progress import progress

    return progress(total)
