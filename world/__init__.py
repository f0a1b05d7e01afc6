"""A small simulated world: scenes, dynamics, a ray-cast renderer, captions. Everything follows from one integer seed."""
