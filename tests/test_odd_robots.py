"""Robots out of the ordinary: stiff actuators, thousands of geoms, what is not drawn."""

import numpy as np
import pytest
from vdit.world.actions import Actuate
from vdit.world.scene import Mechanism, Scene, View
from vdit.world.simulate import simulate

ARM = """<mujoco><option integrator="{}"/><worldbody><body name="arm" pos="0 0 1"><joint name="hinge" axis="0 1 0"/>
<geom type="capsule" fromto="0 0 0 0 0 -.2" size=".02" mass=".3"/></body></worldbody>
<actuator><position name="servo" joint="hinge" kp="30" kv="20"/></actuator></mujoco>"""


@pytest.mark.parametrize("integrator", ["Euler", "RK4", "implicit", "implicitfast"])
def test_a_stiff_servo_holds_its_target(integrator):
    """kv / inertia x step is 10: explicit steps explode beyond 2."""
    scene = Scene(bodies=(), view=View(np.eye(4), 40.0), ground=None, mechanism=Mechanism(ARM.format(integrator)))
    motion = simulate(scene, (Actuate(actuator="servo", targets=((0.0, 0.5),)),), seconds=6.0, fps=2.0)
    turned = np.arctan2(motion.poses[-1, 0, 0, 2], motion.poses[-1, 0, 0, 0])
    assert turned == pytest.approx(0.5, abs=0.02)


def mechanism(inside):
    return Scene(bodies=(), view=View(np.eye(4), 40.0), ground=None, mechanism=Mechanism(f"<mujoco>{inside}</mujoco>"))


def test_thousands_of_geoms_stay_drawable():
    balls = "".join(f'<geom size=".01" pos="{k * 0.03} 0 0" contype="0"/>' for k in range(1000))
    motion = simulate(mechanism(f"<worldbody><body><freejoint/>{balls}</body></worldbody>"), seconds=0.1, fps=10.0)
    assert sum(len(p.surface.faces) for p in motion.parts) < 150_000


def test_what_is_not_drawn_is_said():
    field = '<asset><hfield name="h" nrow="3" ncol="3" size="1 1 .2 .1"/></asset>'
    inside = f'{field}<worldbody><geom type="hfield" hfield="h"/><body pos="0 0 1"><geom size=".1"/></body></worldbody>'
    assert "1 height field" in simulate(mechanism(inside), seconds=0.1, fps=10.0).remarks[0]
