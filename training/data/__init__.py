"""What is trained on: files of simulated clips, and the batches that are drawn from them."""
