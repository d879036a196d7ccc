"""The loop, its checkpoints, and fine-tuning."""
