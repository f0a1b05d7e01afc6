"""Runs graphs where ComfyUI is not installed: schema, prompts, execution, the studio, the `vdit` command."""
