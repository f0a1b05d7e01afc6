"""Scenes as Gymnasium environments: `import vdit.gym` registers `vdit/Scene-v0`; the environment itself comes later.

gymnasium.make("vdit/Scene-v0", scene="cup.json") makes one, gymnasium.make_vec several at once.
"""

from __future__ import annotations

try:
    import gymnasium
except ImportError as reason:
    raise ImportError("vdit.gym needs the package gymnasium: pip install vdit[gym]") from reason

ENVIRONMENT = "vdit/Scene-v0"

if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(ENVIRONMENT, entry_point=f"{__name__}.scene_env:SceneEnv")
