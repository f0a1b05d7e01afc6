"""The simulated families: balls and boxes of random scenes, each from one integer seed, drawn by ray casting."""
