"""Puts one clip's forward passes on several processes or GPUs, from outside: models know nothing of it.

Each member computes some rows of the tokens in every frame, whose blocks talk to each other in attention alone
(kernels/shared.py); what leaves the last block is put together again, so that all go on with the same values.
Rows, and not frames: noise levels differ by frame and never by row, and there are more rows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from ..kernels.plan import BlockPlan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..kernels.grid import Grid
    from ..kernels.processes import Members, Processes
    from ..kernels.shared import SharedPlan
    from ..model.codec.base import Codec
    from ..model.layers import Context, Layout

Velocity = Callable[[], "Tensor"]
InPairs = Callable[[Velocity, Velocity], tuple["Tensor", "Tensor"]]
# Latent cells that the parts of two processes share when decoding: 64 pixels of Wan 2.1's, as in ComfyUI's tiled VAE.
OVERLAP = 8


@contextmanager
def shared_rows(transformer: nn.Module, members: Members | None) -> Generator[None]:
    """While it lasts, every member of the group computes its rows of what its transformer is called with.

    All call it with the same inputs and get the same output. Where gradients are taken, each process has those of its
    rows; summed over the processes they are the whole. None, or one member: nothing changes. Raises ValueError for a
    causal rollout, and for fewer rows than members.
    """
    if members is None or members.size == 1:
        yield
        return
    from ..model.layers import Block, Head

    rows = _Rows(members)
    with ExitStack() as hooks:
        for name, module in cast("Iterator[tuple[str, nn.Module]]", transformer.named_modules()):
            if isinstance(module, Block):
                hooks.callback(module.register_forward_pre_hook(rows.enter).remove)
            elif isinstance(module, Head) or name.rpartition(".")[2] == "draft_trust":
                hooks.callback(module.register_forward_hook(rows.leave).remove)
        yield


class _Rows:
    """What the hooks of one transformer share: the layout of the forward pass at hand."""

    def __init__(self, members: Members):
        self.members = members
        self.whole: Layout | None = None
        self.mine: Layout | None = None
        self.plans: dict[tuple[Grid, BlockPlan | None], SharedPlan] = {}

    def enter(
        self, _: nn.Module, given: tuple[Tensor, Tensor, Context, Layout]
    ) -> tuple[Tensor, Tensor, Context, Layout]:
        """Before a block: its rows of the tokens, and the layout of these."""
        x, time, context, layout = given
        if layout is not self.whole:
            self.whole, self.mine = layout, self._layout(layout)
        assert self.mine is not None
        if x.shape[2] == layout.grid.h * layout.grid.w:
            x = x[:, :, self._span(layout.grid)].contiguous()
        return x, time, context, self.mine

    def leave(self, _: nn.Module, __: object, output: Tensor) -> Tensor:
        """Behind the last block: the rows of all members, [B, T, S, ...]."""
        assert self.whole is not None
        grid = self.whole.grid
        counts = [(end - first) * grid.w for first, end in self.members.spans(grid.h)]
        return self.members.gathered(output.movedim(2, 0), counts).movedim(0, 2)

    def _span(self, grid: Grid) -> slice:
        first, end = self.members.spans(grid.h)[self.members.rank]
        return slice(first * grid.w, end * grid.w)

    def _layout(self, layout: Layout) -> Layout:
        from ..kernels.shared import SharedPlan

        if layout.past is not None:
            raise ValueError(
                f"a video made block by block cannot be shared by several {self.members.called}; set causal to off"
            )
        grid, plan, span = layout.grid, layout.plan, self._span(layout.grid)
        assert plan is None or isinstance(plan, BlockPlan)
        shared = self.plans.setdefault((grid, plan), SharedPlan(self.members, grid, plan))
        rope = cast("Tensor", layout.rope.unflatten(0, (grid.t, -1)))[:, span].flatten(0, 1)
        camera = layout.camera
        if camera is not None and camera.signal.shape[2] == grid.h * grid.w:  # by token; else by frame
            camera = camera._replace(signal=camera.signal[:, :, span])
        return layout._replace(rope=rope, plan=shared, camera=camera)


def divided(processes: Processes | None, prompts: int) -> tuple[Processes | None, InPairs | None]:
    """Which processes share this one's rows, and how two prompts' velocities are worked out: one by each half of the
    processes, which then exchange them. None for the latter where there is one prompt, or no halves."""
    if processes is None or prompts == 1 or processes.size % 2:
        return processes, None
    rows, pair = processes.halves

    def both(positive: Velocity, negative: Velocity) -> tuple[Tensor, Tensor]:
        mine = negative() if pair.rank else positive()
        found = pair.gathered(mine, [len(mine)] * 2)
        return found[: len(mine)], found[len(mine) :]

    return rows, both


def decoded(codec: Codec, latent: Tensor, processes: Processes | None) -> Iterator[Tensor]:
    """codec.decode_stream(latent), of which every process decodes some rows; overlaps are blended.

    Where a latent is too low to be cut, every process decodes all of it.
    """
    cut = None if processes is None else rows_of_tiles(latent.shape[3], processes.size, codec.latents.multiple)
    if processes is None or cut is None:
        yield from codec.decode_stream(latent)
        return
    from ..model.codec.tiles import Tiles

    tiles = Tiles(cut, ((0, latent.shape[4]),))
    top, bottom = cut[processes.rank]
    for mine in codec.decode_stream(latent[:, :, :, top:bottom].contiguous()):
        parts = processes.gathered(mine, [len(mine)] * processes.size).chunk(processes.size)
        yield tiles.join(parts, codec.spatial)


def rows_of_tiles(height: int, count: int, multiple: int = 1) -> tuple[tuple[int, int], ...] | None:
    """So many spans of equal height, OVERLAP cells of each shared with the next; ends are multiples of `multiple`.

    None for one span, or where the overlaps would be more than half of what is decoded.
    """
    side = -(-(height + (count - 1) * OVERLAP) // count)
    side = -(-side // multiple) * multiple
    if count == 1 or side < 2 * OVERLAP or side >= height:
        return None
    starts = [i * (height - side) // (count - 1) // multiple * multiple for i in range(count)]
    return tuple((start, start + side) for start in starts)
