"""Socket and widget types of a node schema, under the names of ComfyUI's V3 API (`comfy_api.latest.io`).

A type is a class with `io_type`, an `Input` and an `Output`. `Input.entry()` is what /object_info carries.
Its dataclasses have no __eq__ and __repr__: nobody asks, and making them is 2 of the 15 ms that the import takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar


class FolderType(str, Enum):
    """Folders whose files a browser may ask for."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):
    """Widgets of a file list that offer an upload."""

    image = "image_upload"
    video = "video_upload"


JSON_NAMES = {"force_input": "forceInput", "dynamic_prompts": "dynamicPrompts"}


@dataclass(kw_only=True, eq=False, repr=False)
class SocketInput:
    """An input without a widget: it takes a link only. Options left at None are not sent."""

    io_type: ClassVar[str] = ""  # the type's name on the wire, from its ComfyType
    id: str = field(kw_only=False)
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    extra_dict: dict[str, Any] = field(default_factory=dict)

    def widget_options(self) -> dict[str, Any]:
        """What this class of input adds to a socket's options, in the order of its fields."""
        own = fields(self)[len(fields(SocketInput)) :]
        return {f.name: getattr(self, f.name) for f in own}

    def as_dict(self) -> dict[str, Any]:
        """The options as /object_info carries them."""
        socket = {"display_name": self.display_name, "tooltip": self.tooltip}
        return _sent(socket) | _sent(self.extra_dict) | _sent(self.widget_options())

    def entry(self) -> tuple[str, dict[str, Any]]:
        """(type, options): the input in /object_info."""
        return self.io_type, self.as_dict()


def _sent(options: dict[str, Any]) -> dict[str, Any]:
    """The options without those left at None, under their JSON names; enum members become their values."""
    return {
        JSON_NAMES.get(name, name): value.value if isinstance(value, Enum) else value
        for name, value in options.items()
        if value is not None
    }


@dataclass(kw_only=True, eq=False, repr=False)
class WidgetInput(SocketInput):
    """An input that a person may also type in; `default` fills it, `force_input` leaves only the socket."""

    default: Any = None
    force_input: bool | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class IntInput(WidgetInput):
    """A whole number."""

    min: int | None = None
    max: int | None = None
    step: int | None = None
    control_after_generate: bool | None = None  # offers to change it after each run


@dataclass(kw_only=True, eq=False, repr=False)
class FloatInput(WidgetInput):
    """A number."""

    min: float | None = None
    max: float | None = None
    step: float | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class StringInput(WidgetInput):
    """A text."""

    multiline: bool = False
    dynamic_prompts: bool | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class BooleanInput(WidgetInput):
    """A switch."""

    label_on: str | None = None
    label_off: str | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class ComboInput(WidgetInput):
    """One of several values: a list of them, or the members of an Enum."""

    multiselect: bool = field(default=False, init=False)
    options: list[Any] | type[Enum] | None = field(default=None, kw_only=False)
    upload: UploadType | None = None

    def widget_options(self) -> dict[str, Any]:
        """An Enum as the list of its values, an upload under its own name."""
        options = super().widget_options()
        if isinstance(self.options, type):
            options["options"] = [member.value for member in self.options]
        upload = options.pop("upload")
        return options | ({upload.value: True} if upload else {})


@dataclass(eq=False, repr=False)
class Option:
    """One choice of a dynamic combo, with the inputs that it brings."""

    key: str
    inputs: Sequence[SocketInput] = ()

    def as_dict(self) -> dict[str, Any]:
        """As /object_info carries it."""
        return {"key": self.key, "inputs": grouped(self.inputs)}


@dataclass(kw_only=True, eq=False, repr=False)
class DynamicComboInput(SocketInput):
    """A combo whose chosen option brings inputs; execute gets {id: key, inner id: value, ...}."""

    options: Sequence[Option] = field(default=(), kw_only=False)

    def widget_options(self) -> dict[str, Any]:
        """The options with their inputs."""
        return {"options": [option.as_dict() for option in self.options]}


@dataclass(eq=False, repr=False)
class TemplatePrefix:
    """Inputs like `input`, named prefix0, prefix1 ...; at least `min` of them are needed."""

    input: SocketInput
    prefix: str
    min: int = 1
    max: int = 10

    def as_dict(self) -> dict[str, Any]:
        """As /object_info carries it."""
        return {"input": grouped([self.input]), "prefix": self.prefix, "min": self.min, "max": self.max}


@dataclass(kw_only=True, eq=False, repr=False)
class AutogrowInput(SocketInput):
    """Sockets of which another appears when the last one is linked; execute gets {name: value, ...}."""

    template: TemplatePrefix

    def widget_options(self) -> dict[str, Any]:
        """The template."""
        return {"template": self.template.as_dict()}


def grouped(inputs: Iterable[SocketInput]) -> dict[str, dict]:
    """Inputs as /object_info carries them, {"required": {id: (type, options)}, "optional": ...}."""
    groups: dict[str, dict] = {"required": {}}
    for i in inputs:
        groups.setdefault("optional" if i.optional else "required", {})[i.id] = i.entry()
    return groups


@dataclass(eq=False, repr=False)
class SocketOutput:
    """An output socket; its name on the node is display_name, else id, else the type."""

    io_type: ClassVar[str] = ""
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False  # gives a list; nodes after it run once for each entry

    def __post_init__(self):
        self.display_name = self.display_name or self.id


class ComfyType:
    """Base of all types. A subclass says `io_type`; it gets its own Input and Output bound to it."""

    io_type: str = ""
    Input: type[SocketInput] = SocketInput
    Output: type[SocketOutput] = SocketOutput

    def __init_subclass__(cls, **kwargs: Any):  # noqa: ANN401  passed on
        super().__init_subclass__(**kwargs)
        bound = {"io_type": cls.io_type, "__module__": cls.__module__}
        cls.Input, cls.Output = type("Input", (cls.Input,), bound), type("Output", (cls.Output,), bound)


def Custom(io_type: str) -> type[ComfyType]:  # noqa: N802  ComfyUI's name
    """A type that ComfyUI lacks, known by its name only."""
    return type(io_type, (ComfyType,), {"io_type": io_type})


class Int(ComfyType):
    """A whole number."""

    io_type = "INT"
    Input: type[IntInput] = IntInput


class Float(ComfyType):
    """A number."""

    io_type = "FLOAT"
    Input: type[FloatInput] = FloatInput


class String(ComfyType):
    """A text."""

    io_type = "STRING"
    Input: type[StringInput] = StringInput


class Boolean(ComfyType):
    """True or False."""

    io_type = "BOOLEAN"
    Input: type[BooleanInput] = BooleanInput


class Combo(ComfyType):
    """One of a list of values."""

    io_type = "COMBO"
    Input: type[ComboInput] = ComboInput


class DynamicCombo(ComfyType):
    """A dict: the chosen option's key and the values of its inputs."""

    io_type = "COMFY_DYNAMICCOMBO_V3"
    Input: type[DynamicComboInput] = DynamicComboInput
    Option = Option


class Autogrow(ComfyType):
    """A dict of as many values as came in."""

    io_type = "COMFY_AUTOGROW_V3"
    Input: type[AutogrowInput] = AutogrowInput
    TemplatePrefix = TemplatePrefix


class Image(ComfyType):
    """Tensor [B, H, W, C] in 0..1; a video's frames are the batch."""

    io_type = "IMAGE"


class Mask(ComfyType):
    """Tensor [B, H, W] in 0..1."""

    io_type = "MASK"


class Latent(ComfyType):
    """dict with "samples": Tensor [B, C, T, H, W] or [B, C, H, W]."""

    io_type = "LATENT"


class Conditioning(ComfyType):
    """list of (Tensor, dict)."""

    io_type = "CONDITIONING"


class ClipVisionOutput(ComfyType):
    """Features of a picture, as CLIP Vision Encode of ComfyUI gives them."""

    io_type = "CLIP_VISION_OUTPUT"


class Video(ComfyType):
    """A VideoInput of host/video.py."""

    io_type = "VIDEO"


class Audio(ComfyType):
    """dict with "waveform": Tensor [B, channels, samples], "sample_rate": Hz."""

    io_type = "AUDIO"


class AnyType(ComfyType):
    """Whatever comes."""

    io_type = "*"
