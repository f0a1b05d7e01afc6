"""Socket and widget types of a node schema, under the names of ComfyUI's V3 API (`comfy_api.latest.io`).

A type is a class with `io_type`, an `Input` and an `Output`. `Input.entry()` is what /object_info carries.
"""

from __future__ import annotations

from enum import Enum


class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"


class UploadType(str, Enum):
    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(str, Enum):
    number = "number"
    slider = "slider"


def _plain(value):
    return value.value if isinstance(value, Enum) else value


def pruned(options: dict) -> dict:
    """The options without those left at None; enum members become their values."""
    return {key: _plain(value) for key, value in options.items() if value is not None}


class Input:
    """A socket: no widget, only a link."""

    type: type[ComfyType]  # bound by ComfyType.__init_subclass__

    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, extra_dict=None, raw_link=None):
        self.id, self.display_name, self.optional = id, display_name, optional
        self.tooltip, self.lazy, self.extra_dict, self.rawLink = tooltip, lazy, extra_dict or {}, raw_link

    @property
    def io_type(self) -> str:
        return self.type.io_type

    def get_io_type(self) -> str:
        return self.io_type

    def options(self) -> dict:
        """What this class of input adds; None means not said."""
        return {}

    def as_dict(self) -> dict:
        base = {"display_name": self.display_name, "tooltip": self.tooltip, "lazy": self.lazy, "rawLink": self.rawLink}
        return pruned(base) | pruned(self.extra_dict) | pruned(self.options())

    def entry(self) -> tuple[str, dict]:
        return self.get_io_type(), self.as_dict()


class WidgetInput(Input):
    """An input that a person may also type in; `default` fills it, `force_input` leaves only the socket."""

    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        socketless=None,
        widget_type=None,
        force_input=None,
        extra_dict=None,
        raw_link=None,
    ):
        super().__init__(id, display_name, optional, tooltip, lazy, extra_dict, raw_link)
        self.default, self.socketless = _plain(default), socketless
        self.widget_type, self.force_input = widget_type, force_input

    def get_io_type(self) -> str:
        return self.widget_type or self.io_type

    def options(self) -> dict:
        return {
            "default": self.default,
            "socketless": self.socketless,
            "widgetType": self.widget_type,
            "forceInput": self.force_input,
        }


class Output:
    """An output socket; its name on the node is display_name, else id, else the type."""

    type: type[ComfyType]

    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
        self.id, self.display_name = id, display_name or id
        self.tooltip, self.is_output_list = tooltip, is_output_list

    @property
    def io_type(self) -> str:
        return self.type.io_type


class ComfyType:
    """Base of all types. A subclass says `io_type`; it gets its own Input and Output bound to it."""

    io_type: str = None
    Type = object  # what travels on the wire, for annotations
    Input = Input
    Output = Output

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.Input = type("Input", (cls.Input,), {"type": cls, "__module__": cls.__module__})
        cls.Output = type("Output", (cls.Output,), {"type": cls, "__module__": cls.__module__})


def Custom(io_type: str) -> type[ComfyType]:
    """A type of one's own, told apart by its name only."""
    return type(io_type, (ComfyType,), {"io_type": io_type})


class _IntInput(WidgetInput):
    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        min=None,
        max=None,
        step=None,
        control_after_generate=None,
        display_mode=None,
        socketless=None,
        force_input=None,
        extra_dict=None,
        raw_link=None,
    ):
        super().__init__(
            id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict, raw_link
        )
        self.min, self.max, self.step = min, max, step
        self.control_after_generate, self.display_mode = control_after_generate, display_mode

    def options(self):
        return super().options() | {
            "min": self.min,
            "max": self.max,
            "step": self.step,
            "control_after_generate": self.control_after_generate,
            "display": self.display_mode,
        }


class _FloatInput(WidgetInput):
    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        min=None,
        max=None,
        step=None,
        round=None,
        display_mode=None,
        socketless=None,
        force_input=None,
        extra_dict=None,
        raw_link=None,
    ):
        super().__init__(
            id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict, raw_link
        )
        self.min, self.max, self.step, self.round, self.display_mode = min, max, step, round, display_mode

    def options(self):
        return super().options() | {
            "min": self.min,
            "max": self.max,
            "step": self.step,
            "round": self.round,
            "display": self.display_mode,
        }


class _StringInput(WidgetInput):
    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        multiline=False,
        placeholder=None,
        default=None,
        dynamic_prompts=None,
        socketless=None,
        force_input=None,
        extra_dict=None,
        raw_link=None,
    ):
        super().__init__(
            id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict, raw_link
        )
        self.multiline, self.placeholder, self.dynamic_prompts = multiline, placeholder, dynamic_prompts

    def options(self):
        return super().options() | {
            "multiline": self.multiline,
            "placeholder": self.placeholder,
            "dynamicPrompts": self.dynamic_prompts,
        }


class _BooleanInput(WidgetInput):
    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        label_on=None,
        label_off=None,
        socketless=None,
        force_input=None,
        extra_dict=None,
        raw_link=None,
    ):
        super().__init__(
            id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict, raw_link
        )
        self.label_on, self.label_off = label_on, label_off

    def options(self):
        return super().options() | {"label_on": self.label_on, "label_off": self.label_off}


class _ComboInput(WidgetInput):
    def __init__(
        self,
        id,
        options=None,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        control_after_generate=None,
        upload=None,
        image_folder=None,
        socketless=None,
        extra_dict=None,
        raw_link=None,
    ):
        super().__init__(
            id, display_name, optional, tooltip, lazy, default, socketless, None, None, extra_dict, raw_link
        )
        if isinstance(options, type) and issubclass(options, Enum):
            options = [member.value for member in options]
        self.choices, self.control_after_generate = options, control_after_generate
        self.upload, self.image_folder = upload, image_folder

    def options(self):
        return super().options() | {
            "multiselect": False,
            "options": self.choices,
            "control_after_generate": self.control_after_generate,
            **({self.upload.value: True} if self.upload else {}),
            "image_folder": self.image_folder,
        }


class Int(ComfyType):
    io_type, Type, Input = "INT", int, _IntInput


class Float(ComfyType):
    io_type, Type, Input = "FLOAT", float, _FloatInput


class String(ComfyType):
    io_type, Type, Input = "STRING", str, _StringInput


class Boolean(ComfyType):
    io_type, Type, Input = "BOOLEAN", bool, _BooleanInput


class Combo(ComfyType):
    io_type, Type, Input = "COMBO", str, _ComboInput


class Image(ComfyType):
    """Tensor [B, H, W, C] in 0..1; a video's frames are the batch."""

    io_type = "IMAGE"


class Mask(ComfyType):
    """Tensor [B, H, W] in 0..1."""

    io_type = "MASK"


class Latent(ComfyType):
    """dict with "samples": Tensor [B, C, T, H, W] or [B, C, H, W]."""

    io_type, Type = "LATENT", dict


class Conditioning(ComfyType):
    """list of (Tensor, dict)."""

    io_type, Type = "CONDITIONING", list


class ClipVisionOutput(ComfyType):
    """Features of a picture, as CLIP Vision Encode of ComfyUI gives them."""

    io_type = "CLIP_VISION_OUTPUT"


class Video(ComfyType):
    """A VideoInput of host/video.py."""

    io_type = "VIDEO"


class Audio(ComfyType):
    """dict with "waveform": Tensor [B, channels, samples], "sample_rate": Hz."""

    io_type, Type = "AUDIO", dict


class AnyType(ComfyType):
    io_type = "*"
