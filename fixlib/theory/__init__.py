"""What each loss asks for, and how well simulated gaze can be predicted at all."""
