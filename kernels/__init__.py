"""Fused space-time attention and its neighbours: grid and plan say what attends to what, dispatch who computes it."""
