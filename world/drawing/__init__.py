"""What a camera sees of a motion: colour, depth, instances, masks, optical flow and tracks, frame by frame.

film.py draws a Motion to Footage. Meshes are rasterised exactly (raster.py), coloured (shading.py) and laid over the
background (background.py) with their shadows (shadows.py).
"""
