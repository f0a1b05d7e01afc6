"""Robots with stiff actuators move as implicit steps of time do, whichever integrator their file has."""

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
