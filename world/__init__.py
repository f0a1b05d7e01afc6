"""A scene of rigid bodies, its motion, and what a camera sees of it.

A Scene (scene.py) and Actions on its bodies (actions.py) are simulated to a Motion (motion.py, MuJoCo), which is drawn
as Footage (footage.py): colour, depth, masks, optical flow, tracks. World axes: x right, y away from the viewer, z up;
metres, seconds, kilograms, newtons, radians. families/ draws random scenes of balls and boxes from seeds.
"""
