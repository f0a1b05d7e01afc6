"""How well does a video obey physics? Scores on simulated clips, with the controls that show what the scores mean.

scores.py lists what is measured; contestant.py says what a model has to provide: callables that make frames.
"""
