"""How well does a video obey physics? Scores on simulated clips, with the controls that show what the scores mean.

A object permanence, B physics accuracy, C ten-second coherence, D speed, E obedience to camera, depth and flow.
A model is only a callable here: predict(clip, known frames [k,H,W,3], seed) -> frames [T,H,W,3].
"""
