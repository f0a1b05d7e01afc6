"""A small simulated world: scenes, their motion, a ray-cast renderer, captions. All follows from one integer seed."""
