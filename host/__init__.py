"""Runs graphs where ComfyUI is not installed: nodes' schema, prompts, execution, the studio's server, the `vdit` command."""
