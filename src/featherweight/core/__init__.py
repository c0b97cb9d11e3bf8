"""What every part builds on: masks, which weights are prunable, saving and loading."""
