"""Open weights as people have them on disk: files to tensors, tensors to modules, LoRAs on top."""
