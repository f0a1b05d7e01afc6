"""What is trained: one file for each network's loss, held-out scores and task for the trainer."""
